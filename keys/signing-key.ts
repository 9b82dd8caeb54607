/**
 * What can sign. Everything in keys/ that signs takes a `SigningKey` and nothing else, so that a key may live in a
 * file, in memory (lab servers, tests), or one day behind PKCS#11.
 *
 * Contract of every back end:
 * - secrecy: the private half never leaves the back end; it is not in an error, a log line or a JSON rendering;
 * - durability: a key is handed out (its public half shown to anybody) only after its private half is stored so that a
 *   power cut does not lose it; a root that names a key which is lost cannot be mended without the others;
 * - `sign` covers exactly the bytes given, or throws; it never signs a digest in their place;
 * - `publicKey` is the key that `sign` uses: a back end checks that itself, so that a mixed-up store cannot put
 *   signatures under a name that does not verify.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign as signWith } from 'node:crypto';
import type { SignatureAlgorithm } from '../trust/cose.ts';
import { sha256Hex } from '../trust/crypto.ts';
import { tufKeyId, tufKeyOf } from '../trust/tuf/metadata.ts';

export type { SignatureAlgorithm };

export interface SigningKey {
  /** The name under which signed metadata lists the key: a TUF key id for roles, SHA-256 of the raw key for authors. */
  readonly keyId: string;
  readonly algorithm: SignatureAlgorithm;
  /** Raw: 32 bytes for Ed25519, the uncompressed point (65 bytes) for ESP256. */
  readonly publicKey: Uint8Array;
  /** 64 bytes: RFC 8032, or r ‖ s over SHA-256 of the bytes (ESP256, RFC 9864). */
  sign(bytes: Uint8Array): Promise<Uint8Array>;
}

/** `tuf`: signs role metadata. `author`: signs releases. A key is for one of them and never both. */
export type KeyUse = 'tuf' | 'author';

/** The id that a public key goes by. TUF roles are Ed25519 only. */
export function keyIdOf(use: KeyUse, algorithm: SignatureAlgorithm, publicKey: Uint8Array): string {
  if (use === 'author') return sha256Hex(publicKey);
  if (algorithm !== 'ed25519') throw new RangeError('TUF roles are signed with Ed25519');
  return tufKeyId(tufKeyOf(publicKey));
}

/** A private key in its raw form: an Ed25519 seed or a P-256 scalar, 32 bytes each. Wiped by whoever holds it. */
export interface RawPrivateKey {
  readonly algorithm: SignatureAlgorithm;
  readonly secret: Uint8Array;
  readonly publicKey: Uint8Array;
}

// PKCS#8 (RFC 5208, RFC 8410, RFC 5915) of a fixed length each, so that no general encoder is needed.
const ED25519_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
// Without the public half: OpenSSL then computes it, instead of believing the one it is given.
const P256_PREFIX = Buffer.from('3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420', 'hex');
/** Where the private half stands in what node:crypto exports for a P-256 key. */
const P256_EXPORT_OFFSET = 36;

function keyObject(key: Pick<RawPrivateKey, 'algorithm' | 'secret'>): KeyObject {
  const der = Buffer.concat([key.algorithm === 'ed25519' ? ED25519_PREFIX : P256_PREFIX, key.secret]);
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  } finally {
    der.fill(0);
  }
}

function rawPublicKey(algorithm: SignatureAlgorithm, key: KeyObject): Uint8Array {
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  return Uint8Array.from(spki.subarray(spki.length - (algorithm === 'ed25519' ? 32 : 65)));
}

/** A new key pair. The caller stores it, then wipes `secret`. */
export function generateRawKey(algorithm: SignatureAlgorithm): RawPrivateKey {
  const privateKey =
    algorithm === 'ed25519'
      ? generateKeyPairSync('ed25519').privateKey
      : generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey;
  const der = privateKey.export({ format: 'der', type: 'pkcs8' });
  const offset = algorithm === 'ed25519' ? ED25519_PREFIX.length : P256_EXPORT_OFFSET;
  const secret = Uint8Array.from(der.subarray(offset, offset + 32));
  der.fill(0);
  return { algorithm, secret, publicKey: rawPublicKey(algorithm, privateKey) };
}

/** A key held in this process. Undefined when the two halves do not belong together. */
export function softwareKey(use: KeyUse, raw: RawPrivateKey): SigningKey | undefined {
  let privateKey: KeyObject;
  try {
    privateKey = keyObject(raw);
  } catch {
    return undefined;
  }
  const publicKey = rawPublicKey(raw.algorithm, privateKey);
  if (Buffer.compare(publicKey, raw.publicKey) !== 0) return undefined;
  return {
    keyId: keyIdOf(use, raw.algorithm, publicKey),
    algorithm: raw.algorithm,
    publicKey,
    async sign(bytes) {
      const signature =
        raw.algorithm === 'ed25519'
          ? signWith(null, bytes, privateKey)
          : signWith('sha256', bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' });
      return Uint8Array.from(signature);
    },
  };
}

/** A new key that lives and dies with this process: lab servers, dry runs, tests. */
export function ephemeralKey(use: KeyUse, algorithm: SignatureAlgorithm = 'ed25519'): SigningKey {
  const raw = generateRawKey(algorithm);
  const key = softwareKey(use, raw);
  raw.secret.fill(0);
  if (key === undefined) throw new Error('a key pair made by node:crypto does not fit together');
  return key;
}
