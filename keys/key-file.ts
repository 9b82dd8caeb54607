/**
 * Offline keys at rest: JSON with a clear part (whose key, for what, its public half, how it is encrypted) and the
 * private half under ChaCha20-Poly1305 with a key that scrypt makes of the passphrase. The whole clear part is
 * authenticated, so that no field can be changed without the passphrase. Layout: docs/KEYS.md.
 *
 * Does no disk access of its own beyond `openKeyFile`/`readKeyFile`; never holds a passphrase longer than one call.
 */
import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto';
import * as v from 'valibot';
import { EXIT, Fault } from '../platform/fault.ts';
import { namingPath, readInputFile } from '../platform/input-file.ts';
import { hex, unhex } from '../trust/bytes.ts';
import { canonicalJson, decodeJson } from '../trust/json.ts';
import type { Passphrase } from './passphrase.ts';
import {
  generateRawKey,
  type KeyUse,
  keyIdOf,
  type RawPrivateKey,
  type SigningKey,
  softwareKey,
} from './signing-key.ts';

export const KEY_FILE_CAP_BYTES = 16 * 1024;
const SALT_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export interface ScryptCost {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}
/** 128 MiB and about half a second on a desktop machine (RFC 7914; OWASP's figure for stored passwords). */
export const STANDARD_COST: ScryptCost = { N: 2 ** 17, r: 8, p: 1 };

export type KeyRole = 'root' | 'targets' | 'author';
export const useOfRole = (role: KeyRole): KeyUse => (role === 'author' ? 'author' : 'tuf');

const Hex = (bytes: number) => v.pipe(v.string(), v.regex(/^[0-9a-f]+$/), v.length(bytes * 2));
const powerOfTwo = v.check((n: number) => Number.isInteger(Math.log2(n)), 'a power of two');
const KeyFile = v.strictObject({
  format: v.literal('holdfast-key-1'),
  role: v.picklist(['root', 'targets', 'author']),
  person: v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9._-]{0,79}$/)),
  keyId: Hex(32),
  algorithm: v.picklist(['ed25519', 'esp256']),
  publicKey: v.pipe(v.string(), v.regex(/^[0-9a-f]+$/), v.maxLength(130)),
  kdf: v.strictObject({
    name: v.literal('scrypt'),
    // Caps: opening a stranger's file must not take more than 1 GiB.
    N: v.pipe(v.number(), v.integer(), v.minValue(2), v.maxValue(2 ** 20), powerOfTwo),
    r: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(8)),
    p: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(4)),
    salt: Hex(SALT_BYTES),
  }),
  cipher: v.strictObject({ name: v.literal('chacha20-poly1305'), nonce: Hex(NONCE_BYTES) }),
  ciphertext: Hex(32 + TAG_BYTES),
});
export type KeyFile = v.InferOutput<typeof KeyFile>;

function malformed(detail: string): Fault {
  return new Fault({
    code: 'key-file-malformed',
    what: `this is not a key file of Holdfast (${detail})`,
    cure: 'Give a .key file that `holdfast keys init` made.',
    exitStatus: EXIT.input,
  });
}

/** The clear part of a key file, checked for consistency; nothing in it is proven until the passphrase opened it. */
export function decodeKeyFile(bytes: Uint8Array): KeyFile {
  const json = decodeJson(bytes, { capBytes: KEY_FILE_CAP_BYTES, maxDepth: 4 });
  if (!json.ok) throw malformed(json.detail);
  const parsed = v.safeParse(KeyFile, json.value);
  if (!parsed.success) throw malformed(`${v.getDotPath(parsed.issues[0]) ?? 'file'}: ${parsed.issues[0].message}`);
  const file = parsed.output;
  const publicKey = unhex(file.publicKey);
  if (publicKey === undefined || publicKey.length !== (file.algorithm === 'ed25519' ? 32 : 65)) {
    throw malformed('publicKey has the wrong length');
  }
  if (file.role !== 'author' && file.algorithm !== 'ed25519') throw malformed('a role key is always ed25519');
  if (keyIdOf(useOfRole(file.role), file.algorithm, publicKey) !== file.keyId)
    throw malformed('keyId is not of publicKey');
  return file;
}

function deriveKey(passphrase: Passphrase, kdf: KeyFile['kdf']): Promise<Buffer> {
  const { N, r, p } = kdf;
  const maxmem = 128 * N * r + 128 * r * p + 1024 * 1024;
  return new Promise((resolve, reject) => {
    scrypt(passphrase.bytes(), Buffer.from(kdf.salt, 'hex'), 32, { N, r, p, maxmem }, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
}

function associatedData(file: Omit<KeyFile, 'ciphertext'>): Uint8Array {
  const { format, role, person, keyId, algorithm, publicKey, kdf, cipher } = file;
  return canonicalJson({ format, role, person, keyId, algorithm, publicKey, kdf: { ...kdf }, cipher: { ...cipher } });
}

/** The bytes of a key file. `raw.secret` is not wiped here. */
export async function sealKeyFile(
  about: { readonly role: KeyRole; readonly person: string },
  raw: RawPrivateKey,
  passphrase: Passphrase,
  cost: ScryptCost = STANDARD_COST,
): Promise<Uint8Array> {
  const clear: Omit<KeyFile, 'ciphertext'> = {
    format: 'holdfast-key-1',
    role: about.role,
    person: about.person,
    keyId: keyIdOf(useOfRole(about.role), raw.algorithm, raw.publicKey),
    algorithm: raw.algorithm,
    publicKey: hex(raw.publicKey),
    kdf: { name: 'scrypt', N: cost.N, r: cost.r, p: cost.p, salt: hex(randomBytes(SALT_BYTES)) },
    cipher: { name: 'chacha20-poly1305', nonce: hex(randomBytes(NONCE_BYTES)) },
  };
  const key = await deriveKey(passphrase, clear.kdf);
  try {
    const cipher = createCipheriv('chacha20-poly1305', key, Buffer.from(clear.cipher.nonce, 'hex'), {
      authTagLength: TAG_BYTES,
    });
    cipher.setAAD(associatedData(clear), { plaintextLength: raw.secret.length });
    const ciphertext = Buffer.concat([cipher.update(raw.secret), cipher.final(), cipher.getAuthTag()]);
    return Buffer.from(`${JSON.stringify({ ...clear, ciphertext: hex(ciphertext) }, null, 2)}\n`, 'utf8');
  } finally {
    key.fill(0);
  }
}

/** Makes a key and its file at once; the private half exists outside of the file only in this call. */
export async function makeKeyFile(
  about: { readonly role: KeyRole; readonly person: string },
  passphrase: Passphrase,
  options: { readonly algorithm?: RawPrivateKey['algorithm']; readonly cost?: ScryptCost } = {},
): Promise<{ readonly content: Uint8Array; readonly file: KeyFile }> {
  const raw = generateRawKey(options.algorithm ?? 'ed25519');
  try {
    const content = await sealKeyFile(about, raw, passphrase, options.cost);
    return { content, file: decodeKeyFile(content) };
  } finally {
    raw.secret.fill(0);
  }
}

/**
 * Opens a key file. Fault `passphrase-wrong` also for a file that was altered: the cipher cannot tell the two apart.
 * Fault `key-file-malformed` when the private half inside is not that of the public one.
 */
export async function openKey(file: KeyFile, passphrase: Passphrase): Promise<SigningKey> {
  const key = await deriveKey(passphrase, file.kdf);
  const sealed = Buffer.from(file.ciphertext, 'hex');
  let secret: Buffer;
  try {
    const decipher = createDecipheriv('chacha20-poly1305', key, Buffer.from(file.cipher.nonce, 'hex'), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAAD(associatedData(file), { plaintextLength: sealed.length - TAG_BYTES });
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    secret = decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES));
    decipher.final();
  } catch {
    throw new Fault({
      code: 'passphrase-wrong',
      what: 'the passphrase does not open this key, or the file was altered',
      cure: `Give the passphrase of ${file.person}; if it is right, restore the key file from its backup.`,
      exitStatus: EXIT.input,
    });
  } finally {
    key.fill(0);
  }
  const signingKey = softwareKey(useOfRole(file.role), {
    algorithm: file.algorithm,
    secret,
    publicKey: Buffer.from(file.publicKey, 'hex'),
  });
  secret.fill(0);
  if (signingKey === undefined) throw malformed('its private half does not fit its public half');
  return signingKey;
}

/** Reads the clear part from a path; every Fault names it. */
export async function readKeyFile(path: string): Promise<KeyFile> {
  const content = await readInputFile(path, KEY_FILE_CAP_BYTES, 'a key file');
  return namingPath(path, () => decodeKeyFile(content));
}
