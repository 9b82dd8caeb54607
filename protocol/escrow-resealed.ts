/**
 * `holdfast-escrow-resealed-1`: a blob as its device signed it, and beside it the same content key sealed to further owners,
 * by somebody who could open it. Layout: magic "HFER" and version 1, the sealed keys as in a blob, length of the blob
 * (4), the blob.
 *
 * What is added is not signed by anybody and needs not be: a key that was sealed wrongly opens nothing, because the
 * signed blob names its content key by digest. Nothing is taken away either: whoever could open the blob still can.
 */
import { concat, hex, utf8 } from '../trust/bytes.ts';
import { ByteReader, unsignedBytes } from './byte-reader.ts';
import { ESCROW_CAP_BYTES } from './credentials.ts';
import { decodeEscrow, type EscrowBlob, encodeSealedKeys, type SealedKey, takeSealedKeys } from './escrow.ts';
import { type EscrowRefusal, refuseEscrow } from './escrow-codes.ts';

const MAGIC = utf8('HFER\x01');
/** A blob, and 16 further owners. */
export const ESCROW_FILE_CAP_BYTES = ESCROW_CAP_BYTES + 4096;

/** `blob` is the device's, whole. */
export function encodeResealed(blob: Uint8Array, added: readonly SealedKey[]): Uint8Array {
  return concat(MAGIC, encodeSealedKeys(added), unsignedBytes(blob.length, 4), blob);
}

export interface EscrowFile {
  readonly blob: EscrowBlob;
  /** As the device made it. */
  readonly blobBytes: Uint8Array;
  /** Empty for a blob that was never re-sealed. */
  readonly added: readonly SealedKey[];
}

/** Either form. `escrow-malformed` for everything else. */
export function decodeEscrowFile(bytes: Uint8Array): { readonly ok: true; readonly file: EscrowFile } | EscrowRefusal {
  const resealed = hex(bytes.subarray(0, MAGIC.length)) === hex(MAGIC);
  let blobBytes = bytes;
  let added: readonly SealedKey[] = [];
  if (resealed) {
    if (bytes.length > ESCROW_FILE_CAP_BYTES) return refuseEscrow('escrow-malformed', 'more bytes than it may have');
    const reader = new ByteReader(bytes);
    reader.take(MAGIC.length);
    const keys = takeSealedKeys(reader);
    const blob = reader.take(reader.unsigned(4) ?? 0);
    if (keys === undefined || blob === undefined || reader.left > 0) {
      return refuseEscrow('escrow-malformed', 'what was added is not as it must be');
    }
    [added, blobBytes] = [keys, blob];
  }
  const decoded = decodeEscrow(blobBytes);
  return decoded.ok ? { ok: true, file: { blob: decoded.blob, blobBytes, added } } : decoded;
}
