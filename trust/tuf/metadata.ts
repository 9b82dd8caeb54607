/**
 * The door of trust/tuf/: the types of metadata (roles.ts), decoding (decode.ts), thresholds (threshold.ts), and here
 * key ids, encoding and file names.
 *
 * Invariants: what is encoded is canonical JSON, so that the bytes in the file are the bytes that were signed.
 * May not: sign.
 */
import { hex } from '../bytes.ts';
import { sha256Hex } from '../crypto.ts';
import { canonicalJson } from '../json.ts';
import type { AnyRole, MetadataSignature, RoleName, TufKey } from './roles.ts';

export { decodeMetadata } from './decode.ts';
export * from './roles.ts';
export { tallySignatures, verifyThreshold } from './threshold.ts';

/** Hex SHA-256 of the key's canonical JSON (TUF §4.2). */
export function tufKeyId(key: TufKey): string {
  return sha256Hex(canonicalJson(key));
}

/** The TUF key of a raw Ed25519 public key (32 bytes). */
export function tufKeyOf(publicKey: Uint8Array): TufKey {
  return { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: hex(publicKey) } };
}

/** The bytes to sign. Throws TypeError for what has no canonical form: what we sign is ours. */
export function signedBytes(signed: AnyRole): Uint8Array {
  return canonicalJson(signed);
}

/** A metadata file: canonical JSON of `{signatures, signed}`. */
export function encodeMetadata(signed: AnyRole, signatures: readonly MetadataSignature[]): Uint8Array {
  return canonicalJson({ signatures, signed });
}

/** The file name under which a repository with consistent snapshots serves a version (TUF §6.2). */
export function versionedName(role: Exclude<RoleName, 'timestamp'>, version: number): string {
  return `${version}.${role}.json`;
}

/** `dir/<sha256>.<file>` (TUF §6.2). */
export function consistentPath(targetPath: string, sha256: string): string {
  const slash = targetPath.lastIndexOf('/') + 1;
  return `${targetPath.slice(0, slash)}${sha256}.${targetPath.slice(slash)}`;
}
