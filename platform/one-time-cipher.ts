/**
 * AES-256-GCM under a key that encrypts one message and no other: the nonce may then be constant, and is zero. Whoever
 * used a key twice would lose both messages, so keys are made in the call that uses them (`makeOneTimeKey`).
 *
 * May not log, or keep, a key or a plaintext.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';

export const ONE_TIME_KEY_BYTES = 32;
export const ONE_TIME_TAG_BYTES = 16;
const ZERO_NONCE = new Uint8Array(12);

/** From the kernel's generator, which blocks until it is seeded. Wiped by whoever asked for it. */
export function makeOneTimeKey(): Uint8Array {
  return randomBytes(ONE_TIME_KEY_BYTES);
}

/** The ciphertext, then its tag. */
export function sealOnce(key: Uint8Array, plaintext: Uint8Array, associatedData: Uint8Array): Uint8Array {
  const cipher = createCipheriv('aes-256-gcm', key, ZERO_NONCE).setAAD(associatedData);
  return Uint8Array.from(Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]));
}

/** Undefined for another key, other associated data, or altered bytes. */
export function openOnce(key: Uint8Array, sealed: Uint8Array, associatedData: Uint8Array): Uint8Array | undefined {
  if (sealed.length < ONE_TIME_TAG_BYTES) return undefined;
  const tagAt = sealed.length - ONE_TIME_TAG_BYTES;
  const decipher = createDecipheriv('aes-256-gcm', key, ZERO_NONCE, { authTagLength: ONE_TIME_TAG_BYTES });
  decipher.setAAD(associatedData).setAuthTag(sealed.subarray(tagAt));
  const plaintext = decipher.update(sealed.subarray(0, tagAt));
  try {
    decipher.final();
  } catch {
    plaintext.fill(0);
    return undefined;
  }
  return Uint8Array.from(plaintext);
}
