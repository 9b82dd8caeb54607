/** The device's own TLS key: P-256, made here by node:crypto, never leaving the data partition. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { type Disk, FileTooLarge } from '../../platform/disk.ts';
import { EXIT, errorText, Fault } from '../../platform/fault.ts';
import { sha256Hex } from '../../trust/crypto.ts';

export const KEY_FILE_CAP_BYTES = 4096;

export interface DeviceKey {
  readonly privateKey: KeyObject;
  readonly privateKeyPem: string;
}

/** In memory alone. */
export function makeDeviceKey(): DeviceKey {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { privateKey, privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
}

/** SHA-256 of the public key (SPKI), hex. */
export function fingerprintOf({ privateKey }: DeviceKey): string {
  return sha256Hex(createPublicKey(privateKey).export({ type: 'spki', format: 'der' }));
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
