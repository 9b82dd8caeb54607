/**
 * The key that this device enrols with: the one that stands, or the one that the first boot has staged and not applied
 * yet, or a new one. The server binds the claim to the first key that it sees. So a first boot that is blocked, and
 * whose device enrols all the same to get its repair, must go on with this very key: another would lock the device out.
 *
 * Invariants: the mark `made-here` is durable before the key that it names. It is made only once the first boot has begun
 * on this board and is bound to it: what an image brings along, key and all, was made before that, and is the factory's.
 */
import { createPrivateKey } from 'node:crypto';
import { dirname } from 'node:path';
import type { Disk } from '../../platform/disk.ts';
import { makeDirectoryDurably, writeDurably } from '../../platform/durable-file.ts';
import { firstBootRecord } from '../first-boot/first-boot-record.ts';
import { EpochFolder } from '../first-boot/staging.ts';
import { type DeviceKey, fingerprintOf, KEY_FILE_CAP_BYTES, makeDeviceKey, readDeviceKey } from './device-key.ts';
import type { IdentityPaths } from './identity.ts';

/** Where the first boot stages the device's key (agent/first-boot/providers/device-key.ts). */
export const STAGED_DEVICE_KEY = { provider: 'device-key', name: 'device-key.pem' } as const;
const MARK_CAP_BYTES = 256;

/** Durable, 0600, once this returns. A cut in between leaves none, or a whole one. */
export async function readOrMakeDeviceKey(disk: Disk, paths: IdentityPaths): Promise<DeviceKey> {
  const standing = await readDeviceKey(disk, paths.key);
  if (standing !== undefined) return standing;
  const reading = await firstBootRecord(disk, paths.firstBoot).read();
  const epoch = reading.found === 'whole' ? reading.value.epoch : 0;
  const key = (epoch === 0 ? undefined : await stagedKey(disk, paths, epoch)) ?? makeDeviceKey();
  await makeDirectoryDurably(disk, dirname(paths.key));
  if (epoch > 0) {
    await writeDurably(disk, paths.madeHere, new TextEncoder().encode(`${fingerprintOf(key)}\n`));
  }
  await writeDurably(disk, paths.key, new TextEncoder().encode(key.privateKeyPem));
  return key;
}

/** Did this device's agent make the key, while its first boot was blocked? */
export async function wasMadeHere(disk: Disk, { madeHere }: IdentityPaths, key: DeviceKey): Promise<boolean> {
  const mark = await disk.readFile(madeHere, MARK_CAP_BYTES);
  return mark !== undefined && new TextDecoder().decode(mark).trim() === fingerprintOf(key);
}

/** What cannot be read is not applied either: the first boot holds it against its digest, and makes all anew. */
async function stagedKey(disk: Disk, { firstBoot }: IdentityPaths, epoch: number): Promise<DeviceKey | undefined> {
  const { provider, name } = STAGED_DEVICE_KEY;
  const bytes = await new EpochFolder(disk, firstBoot).staging(epoch, provider).read(name, KEY_FILE_CAP_BYTES);
  if (bytes === undefined) return undefined;
  try {
    const privateKeyPem = new TextDecoder().decode(bytes);
    return { privateKey: createPrivateKey(privateKeyPem), privateKeyPem };
  } catch {
    return undefined;
  }
}
