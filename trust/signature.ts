/**
 * The one door for Ed25519 verdicts.
 *
 * Invariants: strict verification (RFC 8032 with canonical points and scalars, no small-order keys: `zip215: false`),
 * so that one signature has one verdict everywhere. Never throws on foreign bytes.
 * May not: sign.
 */
import { hashes, verify } from '@noble/ed25519';
import { sha512 } from './crypto.ts';

// noble brings no hash of its own for the synchronous calls; the machine's is the same function, and faster.
hashes.sha512 = sha512;

export const ED25519_KEY_BYTES = 32;
export const ED25519_SIGNATURE_BYTES = 64;

/** True when `signature` (64 bytes) by `publicKey` (32 bytes) covers exactly `message`; false for everything else. */
export function verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== ED25519_KEY_BYTES || signature.length !== ED25519_SIGNATURE_BYTES) return false;
  try {
    return verify(signature, message, publicKey, { zip215: false });
  } catch {
    // noble throws for encodings that are no point or no scalar; for us they are simply no signature.
    return false;
  }
}
