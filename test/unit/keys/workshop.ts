/** What tests of keys/ share: a folder outside of every repository, a cheap ceremony, images, and how a Fault is caught. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { type Ceremony, type CeremonyRequest, initCeremony } from '../../../keys/ceremony.ts';
import { Passphrase, type PassphraseSource } from '../../../keys/passphrase.ts';
import type { ScryptCost } from '../../../keys/passphrase-cipher.ts';
import { Fault } from '../../../platform/fault.ts';

export const CHEAP: ScryptCost = { N: 16, r: 8, p: 1 };
export const PHRASE = 'correct horse battery';
export const NOW_UNIX_S = 1_790_000_000;

export const passphrase = (text = PHRASE): Passphrase => new Passphrase(new TextEncoder().encode(text));
export const passphraseFor: PassphraseSource = async () => passphrase();

const folders: string[] = [];
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

export async function workshop(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-keys-'));
  folders.push(folder);
  return folder;
}

export function holdCeremony(directory: string, changes: Partial<CeremonyRequest> = {}): Promise<Ceremony> {
  return initCeremony({
    directory,
    vendor: 'acme.example',
    hardwareClasses: ['acme-cam', 'acme-hub'],
    people: 3,
    passphraseFor,
    nowUnixS: NOW_UNIX_S,
    cost: CHEAP,
    ...changes,
  });
}

export async function writeImage(path: string, sizeBytes: number, seed: number): Promise<string> {
  const bytes = new Uint8Array(sizeBytes);
  for (let at = 0; at < sizeBytes; at += 1) bytes[at] = (at * 31 + seed * 17 + (at >> 8)) & 0xff;
  await writeFile(path, bytes);
  return path;
}

/** The code of the Fault that `run` ends in; anything else is named as what it is. */
export async function faultCode(run: () => unknown): Promise<string> {
  try {
    await run();
  } catch (error) {
    return error instanceof Fault ? error.code : `not a Fault: ${error instanceof Error ? error.stack : error}`;
  }
  return 'no fault';
}
