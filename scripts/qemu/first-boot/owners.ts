/**
 * The owners of the lab's devices: people with keys as `holdfast escrow key new` makes them, so that what a device seals
 * can really be opened. Keys and what was opened lie in the run's folder, 0600, and go with it.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import * as v from 'valibot';
import { Fault } from '../../../platform/fault.ts';
import type { FleetWords } from '../../demo/fleet-words.ts';

const OWNERS = ['ann', 'ben'] as const;
const FOLDER = 'owners';

const Made = v.object({ publicKey: v.string() });
const Asked = v.object({ request: v.object({ requestId: v.string() }) });
const Opened = v.object({ epoch: v.number(), secrets: v.array(v.object({ name: v.string(), text: v.string() })) });

/** What of the world this file needs. */
export interface OwnersWorld {
  readonly words: FleetWords;
  path(...names: string[]): string;
}

/** By its name, as the device calls it: `password:root`. */
export type OpenedSecrets = ReadonlyMap<string, string>;

export interface OpenedEscrow {
  readonly epoch: number;
  readonly secrets: OpenedSecrets;
}

/** Makes their keys; answers the public ones, as the image lists them. The passphrase is that of the ceremony. */
export async function makeOwners(world: OwnersWorld): Promise<string[]> {
  await mkdir(world.path(FOLDER), { mode: 0o700 });
  const keys: string[] = [];
  for (const name of OWNERS) {
    const words = ['escrow', 'key', 'new', name, '--out', keyFile(world, name), ...passphrase(world)];
    keys.push(v.parse(Made, await world.words.holdfast(words, { quiet: true })).publicKey);
  }
  return keys;
}

/** Asked for, approved and fetched with the command line; answers its path. What was given out is replaced at once. */
export async function fetchSealed(world: OwnersWorld, deviceId: string, reason: string): Promise<string> {
  const holdfast = (...words: string[]): Promise<unknown> =>
    world.words.holdfast(['escrow', ...words], { quiet: true });
  const asked = await holdfast('request', deviceId, '--reason', reason);
  const { requestId } = v.parse(Asked, asked).request;
  await holdfast('approve', requestId);
  const path = world.path(FOLDER, `${deviceId}-${requestId}.sealed`);
  await holdfast('fetch', deviceId, '--out', path);
  return path;
}

/** One owner asks for the blob of a device that he is locked out of, and opens it with a key of his own. */
export async function openOnRequest(world: OwnersWorld, deviceId: string): Promise<OpenedEscrow> {
  const sealed = await fetchSealed(world, deviceId, 'the owner is locked out');
  return await openAs(world, OWNERS[0], sealed, ['--device', deviceId]);
}

/** Each owner by himself opens it; undefined where any of them cannot, or they do not find the same. */
export async function openAsOwners(
  world: OwnersWorld,
  blob: Uint8Array,
  epoch: number,
): Promise<OpenedSecrets | undefined> {
  const file = world.path(FOLDER, 'blob');
  await writeFile(file, blob, { mode: 0o600 });
  const found: OpenedSecrets[] = [];
  for (const owner of OWNERS) {
    try {
      found.push((await openAs(world, owner, file, ['--epoch', String(epoch)])).secrets);
    } catch (error) {
      if (error instanceof Fault) return undefined;
      throw error;
    }
  }
  const [first, ...others] = found;
  const same = others.every((one) => JSON.stringify([...one]) === JSON.stringify([...(first ?? [])]));
  return same ? first : undefined;
}

/** What was opened lies in a file for as long as it takes to read it. */
async function openAs(
  world: OwnersWorld,
  owner: string,
  sealed: string,
  expected: readonly string[],
): Promise<OpenedEscrow> {
  const out = world.path(FOLDER, 'opened');
  const key = ['--key', keyFile(world, owner), ...passphrase(world)];
  await rm(out, { force: true });
  try {
    await world.words.holdfast(['escrow', 'open', sealed, ...key, ...expected, '--out', out], { quiet: true });
    const { epoch, secrets } = v.parse(Opened, JSON.parse(await readFile(out, 'utf8')));
    return { epoch, secrets: new Map(secrets.map(({ name, text }) => [name, text])) };
  } finally {
    await rm(out, { force: true });
  }
}

const keyFile = (world: OwnersWorld, name: string): string => world.path(FOLDER, `${name}.escrow-key`);
const passphrase = (world: OwnersWorld): string[] => ['--passphrase-file', world.path('passphrase')];
