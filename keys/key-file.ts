/**
 * Offline keys at rest: JSON with a clear part (whose key, for what, its public half, how it is encrypted) and the
 * private half under a key that scrypt makes of the passphrase (passphrase-cipher.ts). The whole clear part is
 * authenticated, so that no field can be changed without the passphrase. Layout: docs/KEYS.md.
 *
 * Does no disk access of its own beyond `openKeyFile`/`readKeyFile`; never holds a passphrase longer than one call.
 */
import * as v from 'valibot';
import { EXIT, Fault } from '../platform/fault.ts';
import { namingPath, readInputFile } from '../platform/input-file.ts';
import { hex, unhex } from '../trust/bytes.ts';
import { canonicalJson } from '../trust/json.ts';
import type { Passphrase } from './passphrase.ts';
import {
  CIPHER_TAG_BYTES,
  CipherField,
  decodeClearPart,
  decryptSecret,
  encryptSecret,
  freshParameters,
  KEY_FILE_CAP_BYTES,
  type ScryptCost,
  ScryptField,
  STANDARD_COST,
  wrongPassphrase,
} from './passphrase-cipher.ts';
import {
  generateRawKey,
  type KeyUse,
  keyIdOf,
  type RawPrivateKey,
  type SigningKey,
  softwareKey,
} from './signing-key.ts';

export type KeyRole = 'root' | 'targets' | 'author';
export const useOfRole = (role: KeyRole): KeyUse => (role === 'author' ? 'author' : 'tuf');

const Hex = (bytes: number) => v.pipe(v.string(), v.regex(/^[0-9a-f]+$/), v.length(bytes * 2));
const KeyFile = v.strictObject({
  format: v.literal('holdfast-key-1'),
  role: v.picklist(['root', 'targets', 'author']),
  person: v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9._-]{0,79}$/)),
  keyId: Hex(32),
  algorithm: v.picklist(['ed25519', 'esp256']),
  publicKey: v.pipe(v.string(), v.regex(/^[0-9a-f]+$/), v.maxLength(130)),
  kdf: ScryptField,
  cipher: CipherField,
  ciphertext: Hex(32 + CIPHER_TAG_BYTES),
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
  const file = decodeClearPart(bytes, KeyFile, malformed);
  const publicKey = unhex(file.publicKey);
  if (publicKey === undefined || publicKey.length !== (file.algorithm === 'ed25519' ? 32 : 65)) {
    throw malformed('publicKey has the wrong length');
  }
  if (file.role !== 'author' && file.algorithm !== 'ed25519') throw malformed('a role key is always ed25519');
  if (keyIdOf(useOfRole(file.role), file.algorithm, publicKey) !== file.keyId)
    throw malformed('keyId is not of publicKey');
  return file;
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
    ...freshParameters(cost),
  };
  const ciphertext = await encryptSecret(raw.secret, passphrase, clear, associatedData(clear));
  return Buffer.from(`${JSON.stringify({ ...clear, ciphertext }, null, 2)}\n`, 'utf8');
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
  const secret = await decryptSecret(file.ciphertext, passphrase, file, associatedData(file));
  if (secret === undefined) throw wrongPassphrase(file.person);
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
