/**
 * The one file of trust/ that imports a node: module. SHA-256 in bulk (node:crypto is over ten times faster than
 * JavaScript), SHA-512 for Ed25519, SHA-1 for UUIDv5 only, and ECDSA P-256 verification for ESP256.
 *
 * Invariants: everything here is a pure function of its arguments.
 * May not: make keys, sign, draw random numbers; judge Ed25519 (signature.ts does: node:crypto takes low-order keys).
 */
import { createHash, createPublicKey, type Hash, verify } from 'node:crypto';
import { base64url, hex } from './bytes.ts';

export const SHA256_BYTES = 32;

export function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(bytes).digest());
}

/** Lower-case hexadecimal. */
export function sha256Hex(bytes: Uint8Array): string {
  return hex(sha256(bytes));
}

/** Lower-case hexadecimal; TUF lists may name it beside SHA-256. */
export function sha512Hex(bytes: Uint8Array): string {
  return createHash('sha512').update(bytes).digest('hex');
}

export function sha512(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(createHash('sha512').update(bytes).digest());
}

/** A running SHA-256, for images that never stand in memory whole. */
export class Sha256 {
  readonly #hash: Hash = createHash('sha256');

  update(bytes: Uint8Array): this {
    this.#hash.update(bytes);
    return this;
  }

  /** Ends the hash; a second call throws. */
  digest(): Uint8Array {
    return new Uint8Array(this.#hash.digest());
  }
}

/** For UUIDv5 (RFC 9562 §5.5) only: names, never anything that must resist collisions. */
export function sha1ForNames(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha1').update(bytes).digest());
}

export const P256_POINT_BYTES = 65;
const P256_SIGNATURE_BYTES = 64;

/**
 * ECDSA on P-256 with SHA-256 (COSE ESP256). `publicKey` is the uncompressed point (65 bytes, 0x04 first), `signature`
 * r ‖ s (64 bytes, IEEE P1363, as RFC 9053 §2.1 demands). False for a key or signature of any other form.
 */
export function verifyP256(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== P256_POINT_BYTES || publicKey[0] !== 4) return false;
  if (signature.length !== P256_SIGNATURE_BYTES) return false;
  const jwk = {
    kty: 'EC',
    crv: 'P-256',
    x: base64url(publicKey.subarray(1, 33)),
    y: base64url(publicKey.subarray(33, 65)),
  };
  try {
    const key = createPublicKey({ key: jwk, format: 'jwk' });
    return verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature);
  } catch {
    // A point that is not on the curve: OpenSSL refuses to make a key of it.
    return false;
  }
}
