/**
 * An owner's key at rest: X25519, for opening what devices sealed to it. JSON with a clear part and the private half under
 * a passphrase, as the keys that sign (key-file.ts); apart from those, because it signs nothing and nobody signs with it.
 * Layout: docs/KEYS.md.
 *
 * Does no disk access but for reading; never holds a passphrase longer than one call.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import * as v from 'valibot';
import { EXIT, Fault } from '../platform/fault.ts';
import type { HpkeKeyPair } from '../platform/hpke.ts';
import { namingPath, readInputFile } from '../platform/input-file.ts';
import { ESCROW_MAX_OWNERS, ownerIdOf } from '../protocol/escrow.ts';
import { equalBytes, hex, unhex } from '../trust/bytes.ts';
import { canonicalJson } from '../trust/json.ts';
import { isX25519PublicKey, X25519_KEY_BYTES } from '../trust/x25519.ts';
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

const OWNERS_AT_LEAST = 2;
/** RFC 8410. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');

const Hex = (bytes: number) => v.pipe(v.string(), v.regex(/^[0-9a-f]+$/), v.length(bytes * 2));
export const OWNER_NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;

const EscrowKeyFile = v.strictObject({
  format: v.literal('holdfast-escrow-key-1'),
  /** A person, or a safe: for people, never decided on. */
  owner: v.pipe(v.string(), v.regex(OWNER_NAME)),
  /** SHA-256 of the public key: how blobs and reports name it. */
  keyId: Hex(32),
  algorithm: v.literal('x25519'),
  publicKey: Hex(X25519_KEY_BYTES),
  kdf: ScryptField,
  cipher: CipherField,
  ciphertext: Hex(X25519_KEY_BYTES + CIPHER_TAG_BYTES),
});
export type EscrowKeyFile = v.InferOutput<typeof EscrowKeyFile>;

function malformed(detail: string): Fault {
  return new Fault({
    code: 'escrow-key-malformed',
    what: `this is not an owner's key (${detail})`,
    cure: 'Give a file that `holdfast escrow key new` made.',
    exitStatus: EXIT.input,
  });
}

/** The clear part, checked for consistency; nothing in it is proven until the passphrase opened it. */
export function decodeEscrowKey(bytes: Uint8Array): EscrowKeyFile {
  const file = decodeClearPart(bytes, EscrowKeyFile, malformed);
  const publicKey = unhex(file.publicKey) ?? new Uint8Array();
  if (!isX25519PublicKey(publicKey)) throw malformed('publicKey is no X25519 key');
  if (hex(ownerIdOf(publicKey)) !== file.keyId) throw malformed('keyId is not of publicKey');
  return file;
}

function associatedData(file: Omit<EscrowKeyFile, 'ciphertext'>): Uint8Array {
  const { format, owner, keyId, algorithm, publicKey, kdf, cipher } = file;
  return canonicalJson({ format, owner, keyId, algorithm, publicKey, kdf: { ...kdf }, cipher: { ...cipher } });
}

/** Makes a key and its file at once; the private half exists outside of the file only in this call. */
export async function makeEscrowKey(
  owner: string,
  passphrase: Passphrase,
  cost: ScryptCost = STANDARD_COST,
): Promise<{ readonly content: Uint8Array; readonly file: EscrowKeyFile }> {
  const pair = generateKeyPairSync('x25519');
  const der = pair.privateKey.export({ format: 'der', type: 'pkcs8' });
  const publicKey = pair.publicKey.export({ format: 'der', type: 'spki' }).subarray(-X25519_KEY_BYTES);
  try {
    const clear: Omit<EscrowKeyFile, 'ciphertext'> = {
      format: 'holdfast-escrow-key-1',
      owner,
      keyId: hex(ownerIdOf(publicKey)),
      algorithm: 'x25519',
      publicKey: hex(publicKey),
      ...freshParameters(cost),
    };
    const secret = der.subarray(PKCS8_PREFIX.length);
    const ciphertext = await encryptSecret(secret, passphrase, clear, associatedData(clear));
    const content = Buffer.from(`${JSON.stringify({ ...clear, ciphertext }, null, 2)}\n`, 'utf8');
    return { content, file: decodeEscrowKey(content) };
  } finally {
    der.fill(0);
  }
}

/** The pair, its private half wiped by the caller. Faults: `passphrase-wrong` (also for an altered file), `escrow-key-malformed`. */
export async function openEscrowKey(file: EscrowKeyFile, passphrase: Passphrase): Promise<HpkeKeyPair> {
  const privateKey = await decryptSecret(file.ciphertext, passphrase, file, associatedData(file));
  if (privateKey === undefined) throw wrongPassphrase(file.owner);
  const publicKey = Uint8Array.from(Buffer.from(file.publicKey, 'hex'));
  const der = Buffer.concat([PKCS8_PREFIX, privateKey]);
  try {
    const key = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
    const derived = key.export({ format: 'der', type: 'spki' }).subarray(-X25519_KEY_BYTES);
    if (!equalBytes(derived, publicKey)) throw malformed('its private half does not fit its public half');
  } finally {
    der.fill(0);
  }
  return { publicKey, privateKey };
}

/** Reads the clear part from a path; every Fault names it. */
export async function readEscrowKey(path: string): Promise<EscrowKeyFile> {
  const content = await readInputFile(path, KEY_FILE_CAP_BYTES, "an owner's key");
  return namingPath(path, () => decodeEscrowKey(content));
}

/** The line that goes to whoever makes the root, or into an image: the public key and, as a comment, whose it is. */
export function ownerLine(file: Pick<EscrowKeyFile, 'publicKey' | 'owner'>): string {
  return `${file.publicKey}  # ${file.owner}`;
}

/** Public keys of owners, from key files or from files of lines as `ownerLine` writes them, each once. */
export async function readOwnerPublicKeys(paths: readonly string[]): Promise<readonly Uint8Array[]> {
  const found: { key: Uint8Array; path: string }[] = [];
  for (const path of paths) {
    const content = await readInputFile(path, KEY_FILE_CAP_BYTES, "an owner's key");
    const keys = await namingPath(path, () => publicKeysIn(content));
    for (const key of keys) {
      if (found.some((other) => equalBytes(other.key, key))) throw twice(path);
      found.push({ key, path });
    }
  }
  return found.map(({ key }) => key);
}

/** None (a fleet without an escrow), or two and more: with one alone, one lost key would be every lost device. */
export function demandOwners(keys: readonly Uint8Array[]): void {
  if (keys.length === 0 || (keys.length >= OWNERS_AT_LEAST && keys.length <= ESCROW_MAX_OWNERS)) return;
  throw new Fault({
    code: 'escrow-owners-wrong',
    what: `a root names no owner, or ${OWNERS_AT_LEAST} to ${ESCROW_MAX_OWNERS}, and not ${keys.length}`,
    where: '--escrow-key',
    cure: 'Give the public keys of at least two owners: holdfast escrow key new NAME makes one.',
    exitStatus: EXIT.usage,
  });
}

function twice(where: string): Fault {
  return new Fault({
    code: 'escrow-key-twice',
    what: 'this owner key was given before: two owners are two keys',
    where,
    cure: 'Give the public key of each owner once.',
    exitStatus: EXIT.input,
  });
}

function publicKeysIn(content: Uint8Array): Uint8Array[] {
  const text = Buffer.from(content).toString('latin1');
  if (text.trimStart().startsWith('{')) return [Buffer.from(decodeEscrowKey(content).publicKey, 'hex')];
  const lines = text.split('\n').map((line) => line.replace(/#.*/, '').trim());
  const keys = lines.filter((line) => line !== '').map((line) => unhex(line) ?? new Uint8Array());
  if (keys.length === 0 || !keys.every(isX25519PublicKey)) throw malformed('a line is no X25519 public key');
  return keys;
}
