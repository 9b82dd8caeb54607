/**
 * A private key under a passphrase: ChaCha20-Poly1305 with a key that scrypt makes of it. What the two kinds of key
 * files (key-file.ts, escrow-key.ts) have in common; their clear parts are the associated data.
 *
 * Does no disk access; never holds a passphrase or a derived key longer than one call.
 */
import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto';
import * as v from 'valibot';
import { EXIT, Fault } from '../platform/fault.ts';
import { hex } from '../trust/bytes.ts';
import { decodeJson } from '../trust/json.ts';
import type { Passphrase } from './passphrase.ts';

const SALT_BYTES = 32;
const NONCE_BYTES = 12;
export const CIPHER_TAG_BYTES = 16;

export interface ScryptCost {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}
/** 128 MiB and about half a second on a desktop machine (RFC 7914; OWASP's figure for stored passwords). */
export const STANDARD_COST: ScryptCost = { N: 2 ** 17, r: 8, p: 1 };

const Hex = (bytes: number) => v.pipe(v.string(), v.regex(/^[0-9a-f]+$/), v.length(bytes * 2));
const powerOfTwo = v.check((n: number) => Number.isInteger(Math.log2(n)), 'a power of two');

export const ScryptField = v.strictObject({
  name: v.literal('scrypt'),
  // Caps: opening a stranger's file must not take more than 1 GiB.
  N: v.pipe(v.number(), v.integer(), v.minValue(2), v.maxValue(2 ** 20), powerOfTwo),
  r: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(8)),
  p: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(4)),
  salt: Hex(SALT_BYTES),
});
export const CipherField = v.strictObject({ name: v.literal('chacha20-poly1305'), nonce: Hex(NONCE_BYTES) });

interface Parameters {
  readonly kdf: v.InferOutput<typeof ScryptField>;
  readonly cipher: v.InferOutput<typeof CipherField>;
}

export function freshParameters(cost: ScryptCost): Parameters {
  return {
    kdf: { name: 'scrypt', N: cost.N, r: cost.r, p: cost.p, salt: hex(randomBytes(SALT_BYTES)) },
    cipher: { name: 'chacha20-poly1305', nonce: hex(randomBytes(NONCE_BYTES)) },
  };
}

/** No key file is larger. */
export const KEY_FILE_CAP_BYTES = 16 * 1024;

/** The clear part of a key file, of its schema and nothing more; `malformed` says of which kind it should be. */
export function decodeClearPart<T>(
  bytes: Uint8Array,
  schema: v.GenericSchema<unknown, T>,
  malformed: (detail: string) => Fault,
): T {
  const json = decodeJson(bytes, { capBytes: KEY_FILE_CAP_BYTES, maxDepth: 4 });
  if (!json.ok) throw malformed(json.detail);
  const parsed = v.safeParse(schema, json.value);
  if (!parsed.success) throw malformed(`${v.getDotPath(parsed.issues[0]) ?? 'file'}: ${parsed.issues[0].message}`);
  return parsed.output;
}

function deriveKey(passphrase: Passphrase, kdf: Parameters['kdf']): Promise<Buffer> {
  const { N, r, p } = kdf;
  const maxmem = 128 * N * r + 128 * r * p + 1024 * 1024;
  return new Promise((resolve, reject) => {
    scrypt(passphrase.bytes(), Buffer.from(kdf.salt, 'hex'), 32, { N, r, p, maxmem }, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
}

/** Hex: the ciphertext, then its tag. `secret` is not wiped here. */
export async function encryptSecret(
  secret: Uint8Array,
  passphrase: Passphrase,
  { kdf, cipher: { nonce } }: Parameters,
  associatedData: Uint8Array,
): Promise<string> {
  const key = await deriveKey(passphrase, kdf);
  try {
    const cipher = createCipheriv('chacha20-poly1305', key, Buffer.from(nonce, 'hex'), {
      authTagLength: CIPHER_TAG_BYTES,
    });
    cipher.setAAD(associatedData, { plaintextLength: secret.length });
    return hex(Buffer.concat([cipher.update(secret), cipher.final(), cipher.getAuthTag()]));
  } finally {
    key.fill(0);
  }
}

/** The secret, wiped by the caller; undefined for another passphrase and for altered bytes, which look alike. */
export async function decryptSecret(
  ciphertext: string,
  passphrase: Passphrase,
  { kdf, cipher: { nonce } }: Parameters,
  associatedData: Uint8Array,
): Promise<Buffer | undefined> {
  const key = await deriveKey(passphrase, kdf);
  const sealed = Buffer.from(ciphertext, 'hex');
  try {
    const decipher = createDecipheriv('chacha20-poly1305', key, Buffer.from(nonce, 'hex'), {
      authTagLength: CIPHER_TAG_BYTES,
    });
    decipher.setAAD(associatedData, { plaintextLength: sealed.length - CIPHER_TAG_BYTES });
    decipher.setAuthTag(sealed.subarray(sealed.length - CIPHER_TAG_BYTES));
    const secret = decipher.update(sealed.subarray(0, sealed.length - CIPHER_TAG_BYTES));
    decipher.final();
    return secret;
  } catch {
    return undefined;
  } finally {
    key.fill(0);
  }
}

export function wrongPassphrase(holder: string): Fault {
  return new Fault({
    code: 'passphrase-wrong',
    what: 'the passphrase does not open this key, or the file was altered',
    cure: `Give the passphrase of ${holder}; if it is right, restore the key file from its backup.`,
    exitStatus: EXIT.input,
  });
}
