/**
 * Signatures on TUF metadata. A signature is only ever made over bytes that this process built, or that equal byte for
 * byte what it would have built from the plan that the person was shown.
 */
import { EXIT, Fault } from '../platform/fault.ts';
import { equalBytes, hex } from '../trust/bytes.ts';
import {
  decodeMetadata,
  encodeMetadata,
  type MetadataSignature,
  type Root,
  type Snapshot,
  signedBytes,
  type Targets,
  type Timestamp,
} from '../trust/tuf/metadata.ts';
import type { SigningKey } from './signing-key.ts';

export type AnyRole = Root | Timestamp | Snapshot | Targets;

/** The metadata file of `signed`, signed by each of `keys`. */
export async function signMetadata(signed: AnyRole, keys: readonly SigningKey[]): Promise<Uint8Array> {
  const bytes = signedBytes(signed);
  const signatures: MetadataSignature[] = [];
  for (const key of keys) signatures.push({ keyid: key.keyId, sig: hex(await key.sign(bytes)) });
  return encodeMetadata(signed, signatures);
}

/** Ids of the keys that have a signature on a file whose content is exactly `expected`. Fault `plan-mismatch` otherwise. */
export function signersOf(file: Uint8Array, expected: Targets, where: string): MetadataSignature[] {
  const decoded = decodeMetadata('targets', file, { canonicalForm: 'required' });
  if (decoded.ok && equalBytes(decoded.value.signedBytes, signedBytes(expected))) return [...decoded.value.signatures];
  throw new Fault({
    code: 'plan-mismatch',
    what: `the content is not what the release plan says${decoded.ok ? '' : ` (${decoded.detail})`}`,
    where,
    cure: 'Do not sign it. Build the release again with `holdfast release build`, and find out who changed the file.',
    exitStatus: EXIT.refused,
  });
}

export interface CoSignature {
  readonly file: Uint8Array;
  /** False when this key had signed before: the file is unchanged. */
  readonly added: boolean;
}

/**
 * Adds `key`'s signature to a targets file, after checking that the file says exactly `expected`. Signatures that stand
 * are kept as they are. Fault `plan-mismatch` when the content differs.
 */
export async function addSignature(
  file: Uint8Array,
  expected: Targets,
  key: SigningKey,
  where: string,
): Promise<CoSignature> {
  const signatures = signersOf(file, expected, where);
  if (signatures.some((signature) => signature.keyid === key.keyId)) return { file, added: false };
  const sig = hex(await key.sign(signedBytes(expected)));
  return { file: encodeMetadata(expected, [...signatures, { keyid: key.keyId, sig }]), added: true };
}
