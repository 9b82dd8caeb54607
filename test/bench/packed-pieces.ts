/** The baseline that knows content only: the 4 KiB pieces of the new image that the old one has nowhere. */
import { hash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';

const PIECE_BYTES = 4096;

/** Writes the missing pieces, once each, to `path`. `count`: pieces that an index has to name. */
export function packedPieces(old: Uint8Array, fresh: Uint8Array, path: string): { readonly count: number } {
  const known = new Set<string>();
  for (let at = 0; at < old.length; at += PIECE_BYTES) known.add(digestAt(old, at));
  const out = openSync(path, 'w');
  for (let at = 0; at < fresh.length; at += PIECE_BYTES) {
    const digest = digestAt(fresh, at);
    if (known.has(digest)) continue;
    known.add(digest);
    writeSync(out, fresh.subarray(at, at + PIECE_BYTES));
  }
  closeSync(out);
  return { count: Math.ceil(fresh.length / PIECE_BYTES) };
}

function digestAt(bytes: Uint8Array, at: number): string {
  return hash('sha256', bytes.subarray(at, at + PIECE_BYTES), 'base64');
}
