/** What tests of the escrow share: owners, devices, and a blob that the agent's own code sealed. */
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { OwnerEscrow } from '../../../agent/first-boot/escrow.ts';
import type { HpkeKeyPair } from '../../../platform/hpke.ts';
import { decodeEscrowFile, type EscrowFile } from '../../../protocol/escrow-resealed.ts';

export interface TestDevice {
  readonly key: KeyObject;
  readonly point: Uint8Array;
}

export function makeOwner(): HpkeKeyPair {
  const { publicKey, privateKey } = generateKeyPairSync('x25519');
  return {
    publicKey: Uint8Array.from(publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)),
    privateKey: Uint8Array.from(privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(-32)),
  };
}

export function makeDevice(): TestDevice {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  return { key: privateKey, point: Uint8Array.from(spki.subarray(-65)) };
}

export const SECRETS = [
  { name: 'access-point-passphrase:wlan0', text: 'reef kelp otter urchin' },
  { name: 'password:root', text: 'kX9-verysecret-verysecret' },
];
export const BINDING = { deviceId: 'cam-0001', epoch: 3 };

export async function sealBlob(
  device: TestDevice,
  owners: readonly HpkeKeyPair[],
  binding = BINDING,
  secrets: readonly { name: string; text: string }[] = SECRETS,
): Promise<Uint8Array> {
  const escrow = new OwnerEscrow({
    ownerKeys: owners.map(({ publicKey }) => publicKey),
    deviceKey: async () => device.key,
  });
  const sealed = await escrow.seal(secrets, binding);
  if (!sealed.ok) throw new Error(`${sealed.code}: ${sealed.detail}`);
  return sealed.blob;
}

export function fileOf(bytes: Uint8Array): EscrowFile {
  const decoded = decodeEscrowFile(bytes);
  if (!decoded.ok) throw new Error(`${decoded.code}: ${decoded.detail}`);
  return decoded.file;
}
