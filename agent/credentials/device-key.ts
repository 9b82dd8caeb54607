/**
 * The device's own TLS key: P-256, made here by node:crypto, never leaving the data partition. Durable before anything
 * is said about it, because the server binds the claim to the first key it sees.
 */
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { dirname } from 'node:path';
import { type Disk, FileTooLarge } from '../../platform/disk.ts';
import { makeDirectoryDurably, writeDurably } from '../../platform/durable-file.ts';
import { EXIT, errorText, Fault } from '../../platform/fault.ts';

const KEY_FILE_CAP_BYTES = 4096;

export interface DeviceKey {
  readonly privateKey: KeyObject;
  readonly privateKeyPem: string;
}

/** The key that stands, or a new one, durable (0600) once this returns. A cut in between leaves none, or a whole one. */
export async function readOrMakeDeviceKey(disk: Disk, path: string): Promise<DeviceKey> {
  const standing = await readDeviceKey(disk, path);
  if (standing !== undefined) return standing;
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const privateKeyPem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  await makeDirectoryDurably(disk, dirname(path));
  await writeDurably(disk, path, new TextEncoder().encode(privateKeyPem));
  return { privateKey, privateKeyPem };
}

/** Undefined when there is none. A damaged or foreign key is a Fault: making another would lock this device out. */
export async function readDeviceKey(disk: Disk, path: string): Promise<DeviceKey | undefined> {
  try {
    const bytes = await disk.readFile(path, KEY_FILE_CAP_BYTES);
    if (bytes === undefined) return undefined;
    const privateKeyPem = new TextDecoder().decode(bytes);
    const privateKey = createPrivateKey(privateKeyPem);
    if (privateKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new Error('not a P-256 key');
    return { privateKey, privateKeyPem };
  } catch (error) {
    // Errors of the disk (permissions, a bad sector) are told as what they are.
    if (error instanceof Error && 'syscall' in error) throw error;
    throw new Fault({
      code: 'device-key-unreadable',
      what: `the device's key cannot be read (${error instanceof FileTooLarge ? 'too large' : errorText(error)})`,
      where: path,
      cure: 'Restore the file from a backup of the data partition; without it the device needs a factory reset and a new claim.',
      exitStatus: EXIT.corrupt,
    });
  }
}
