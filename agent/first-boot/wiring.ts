/**
 * The credentials of this device and whose keys they are sealed to, from agent.json and the root that it trusts. Makes
 * nothing; where the root names too few owners, the escrow refuses, and the first boot stays closed.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { type Disk, FileTooLarge, nodeDisk } from '../../platform/disk.ts';
import { EXIT, errorText, Fault } from '../../platform/fault.ts';
import type { AgentConfig } from '../config.ts';
import type { CredentialProvider, Escrow } from '../core/first-boot-ports.ts';
import type { Log } from '../core/ports.ts';
import { systemClock } from '../system-clock.ts';
import { readTrustedRoot } from '../trusted-root.ts';
import { OwnerEscrow } from './escrow.ts';
import type { FirstBootConfig } from './first-boot-config.ts';
import { firstBootDirectory } from './first-boot-record.ts';
import { readOwnerKeys } from './owner-keys.ts';
import { DEVICE_KEY_PROVIDER, STAGED_DEVICE_KEY } from './providers/device-key.ts';
import { openProviders } from './providers.ts';
import { EpochFolder } from './staging.ts';
import { openWorld } from './world.ts';

/** In memory; what programs must find in a file for a moment. */
const SCRATCH_DIRECTORY = '/run/holdfast';
const SSH_KEYS_CAP_BYTES = 64 * 1024;
const KEY_CAP_BYTES = 4096;

export interface Wired {
  readonly providers: readonly CredentialProvider[];
  readonly escrow: Escrow;
}

/** Throws Faults about the files of this device: the root, the owners' keys. */
export async function wire(config: AgentConfig, firstBoot: FirstBootConfig, log: Log): Promise<Wired> {
  const { dataDirectory } = config;
  const { minimumOwners, ownersFile } = firstBoot.escrow;
  const clock = systemClock(config.clock);
  const world = openWorld({
    root: '/',
    dataDirectory,
    way: firstBoot.providers.files,
    scratchDirectory: SCRATCH_DIRECTORY,
    ownerKeys: await readSshKeys(nodeDisk, firstBoot.ownerSshKeysFile),
    nowUnixMs: () => clock.wallUnixMs() ?? null,
  });
  const ownerKeys = await readOwnerKeys(nodeDisk, await readTrustedRoot(nodeDisk, log, config), ownersFile);
  const deviceKey = (): Promise<KeyObject | undefined> => stagedDeviceKey(nodeDisk, dataDirectory);
  return {
    providers: openProviders(firstBoot.providers, world),
    escrow: new OwnerEscrow({ ownerKeys, atLeast: minimumOwners, deviceKey }),
  };
}

/** The key of the epoch that is being made, before it is in effect: the certificate that comes is for this one. */
async function stagedDeviceKey(disk: Disk, dataDirectory: string): Promise<KeyObject | undefined> {
  const folder = new EpochFolder(disk, firstBootDirectory(dataDirectory));
  const staging = folder.staging(await folder.highestEpoch(), DEVICE_KEY_PROVIDER);
  const bytes = await staging.read(STAGED_DEVICE_KEY, KEY_CAP_BYTES);
  return bytes === undefined ? undefined : createPrivateKey(Buffer.from(bytes));
}

/** Lines of the owner's own authorized_keys in the image; `#` begins a comment. None where there is no such file. */
async function readSshKeys(disk: Disk, path: string | null): Promise<readonly string[]> {
  if (path === null) return [];
  try {
    const bytes = await disk.readFile(path, SSH_KEYS_CAP_BYTES);
    const lines = new TextDecoder('utf-8', { fatal: true }).decode(bytes).split('\n');
    return lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'));
  } catch (error) {
    if (!(error instanceof FileTooLarge) && !(error instanceof TypeError)) throw error;
    throw new Fault({
      code: 'owner-ssh-keys-malformed',
      what: `the owner's SSH keys cannot be read (${errorText(error)})`,
      where: path,
      cure: 'One public key a line, as in authorized_keys; agent.json names the file (firstBoot.ownerSshKeysFile).',
      exitStatus: EXIT.input,
    });
  }
}
