/**
 * What a device says of its credentials, and never the credentials: the first-boot state, the inventory, and the signed
 * statement that rotation happened. Shared by the agent, which makes these, and by the server and the tools, which judge.
 *
 * Every list and string is bounded here. Nothing in this file ever holds a secret: fingerprints are of public parts.
 */
import * as v from 'valibot';
import { FirstBootState, hasReached, Name, Sha256Hex, Slot } from './device-api.ts';

const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Text = (max: number) => v.pipe(v.string(), v.maxLength(max));
const Base64Url = (max: number) => v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]+$/), v.maxLength(max));

export const MAX_CREDENTIALS = 64;
export const STATEMENT_CAP_BYTES = 16 * 1024;
/** A sealed blob with all its owners. */
export const ESCROW_CAP_BYTES = 32 * 1024;

export { FirstBootState };

export const CredentialKind = v.picklist([
  'password',
  'ssh-host-key',
  'authorized-keys',
  'machine-id',
  'device-key',
  'device-certificate',
  'access-point-passphrase',
  'mqtt-password',
  'application-password',
  'api-token',
  'maker',
]);
export type CredentialKind = v.InferOutput<typeof CredentialKind>;

export const CredentialState = v.picklist([
  /** What the image or the factory put there is in effect. */
  'factory',
  /** Made on this device, in the epoch that stands beside it. */
  'own',
  /** Nobody can log in with it. */
  'locked',
  /** Given by the owner, from signed metadata or by local presence. */
  'owner',
  /** The device has none. */
  'absent',
  /** It is there and its check failed. */
  'failed',
]);
export type CredentialState = v.InferOutput<typeof CredentialState>;

/** `password:root`, `ssh-host-key:ed25519`: unique on the device. */
export const CredentialName = v.pipe(v.string(), v.regex(/^[a-z0-9-]{1,32}(?::[A-Za-z0-9_.@-]{1,64})?$/));

export const CredentialEntry = v.strictObject({
  name: CredentialName,
  kind: CredentialKind,
  state: CredentialState,
  /** The epoch that made it; 0 while it is the factory's. */
  epoch: Count,
  /** SHA-256 of the public part (an SSH key blob, an SPKI, a machine-id with a fixed context); null: nothing is public. */
  fingerprint: v.nullable(Sha256Hex),
  /** When it was made; null while the device had no synchronised clock. */
  madeUnixMs: v.nullable(Count),
});
export type CredentialEntry = v.InferOutput<typeof CredentialEntry>;

/** The record of the escrow that covers an epoch: who can open it, and of which blob. */
export const EscrowNote = v.strictObject({
  sha256: Sha256Hex,
  /** SHA-256 of each owner's public key, sorted. */
  owners: v.pipe(v.array(Sha256Hex), v.minLength(1), v.maxLength(16)),
});
export type EscrowNote = v.InferOutput<typeof EscrowNote>;

/**
 * Signed by the device's key over `STATEMENT_CONTEXT` ‖ the statement's bytes, ECDSA P-256 with SHA-256, r‖s (64 bytes).
 * Proves that whoever holds the device key says so now (the nonce is the server's). It is not attestation: a device that
 * is in a stranger's hands can say what it likes.
 */
export const RotationStatement = v.strictObject({
  format: v.literal('holdfast-rotation-1'),
  deviceId: Name,
  nonce: Base64Url(64),
  epoch: Count,
  state: FirstBootState,
  bootedSlot: v.nullable(Slot),
  /** Digest over what identifies the hardware (agent/core/hardware.ts); null where nothing does. */
  hardwareId: v.nullable(Sha256Hex),
  /** The hardware that an earlier epoch of this data partition was bound to, when it is another one; else null. */
  movedFrom: v.nullable(Sha256Hex),
  credentials: v.pipe(v.array(CredentialEntry), v.maxLength(MAX_CREDENTIALS)),
  escrow: v.nullable(EscrowNote),
});
export type RotationStatement = v.InferOutput<typeof RotationStatement>;

const STATEMENT_CONTEXT = new TextEncoder().encode('holdfast rotation 1\0');

/** The bytes that the device's signature covers. */
export function statementMessage(statement: Uint8Array): Uint8Array {
  const message = new Uint8Array(STATEMENT_CONTEXT.length + statement.length);
  message.set(STATEMENT_CONTEXT);
  message.set(statement, STATEMENT_CONTEXT.length);
  return message;
}

/** Has every secret of the factory been replaced? A statement that says so may still be refused (fingerprints, epoch). */
export function isRotated(statement: Pick<RotationStatement, 'epoch' | 'state' | 'credentials'>): boolean {
  return (
    statement.epoch > 0 &&
    hasReached(statement.state, 'open') &&
    statement.credentials.every(({ state }) => state !== 'factory' && state !== 'failed')
  );
}

/** What stands in the record's trouble, and in reports, when a device is blocked. */
export const BlockedBecause = v.strictObject({ provider: v.nullable(Text(64)), code: Text(64), detail: Text(512) });
export type BlockedBecause = v.InferOutput<typeof BlockedBecause>;
