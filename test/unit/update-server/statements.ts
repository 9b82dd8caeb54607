/** Statements of credentials as a device makes them: with a nonce of the server's, signed by the key of its certificate. */
import { createHash, createPrivateKey, sign } from 'node:crypto';
import { type CredentialEntry, type RotationStatement, statementMessage } from '../../../protocol/credentials.ts';
import { DEVICE_PATHS } from '../../../protocol/device-api.ts';
import { base64url } from '../../../trust/bytes.ts';
import type { Answer, TestDevice } from './testbed.ts';

/** A public fingerprint that depends on its words alone. */
export const fingerprint = (...words: readonly (string | number)[]): string =>
  createHash('sha256').update(words.join(' ')).digest('hex');

export function hostKey(deviceId: string, epoch: number, more: Partial<CredentialEntry> = {}): CredentialEntry {
  return {
    name: 'ssh-host-key:ed25519',
    kind: 'ssh-host-key',
    state: 'own',
    epoch,
    fingerprint: fingerprint('host key', deviceId, epoch),
    madeUnixMs: null,
    ...more,
  };
}

export function rotated(deviceId: string, more: Partial<RotationStatement> = {}): RotationStatement {
  const epoch = more.epoch ?? 1;
  return {
    format: 'holdfast-rotation-1',
    deviceId,
    nonce: 'none',
    epoch,
    state: 'open',
    bootedSlot: 'a',
    hardwareId: fingerprint('board of', deviceId),
    movedFrom: null,
    credentials: [
      hostKey(deviceId, epoch),
      { name: 'password:root', kind: 'password', state: 'locked', epoch, fingerprint: null, madeUnixMs: null },
    ],
    escrow: null,
    ...more,
  };
}

export async function statementNonce(device: TestDevice): Promise<string> {
  const answer = await device.send('POST', DEVICE_PATHS.credentialsNonce, { protocol: 3 });
  if (answer.status !== 200) throw new Error(`no nonce: ${JSON.stringify(answer.body)}`);
  return String(answer.body.nonce);
}

export function sendStatement(
  device: TestDevice,
  statement: RotationStatement,
  keyPem = device.keyPem,
): Promise<Answer> {
  const bytes = new Uint8Array(Buffer.from(JSON.stringify(statement)));
  const key = createPrivateKey(keyPem);
  const signature = sign('sha256', statementMessage(bytes), { key, dsaEncoding: 'ieee-p1363' });
  const body = { protocol: 3, statement: base64url(bytes), signature: base64url(new Uint8Array(signature)) };
  return device.send('POST', DEVICE_PATHS.credentialsStatement, body);
}

/** With a fresh nonce. */
export async function state(device: TestDevice, statement: RotationStatement): Promise<Answer> {
  return sendStatement(device, { ...statement, nonce: await statementNonce(device) });
}
