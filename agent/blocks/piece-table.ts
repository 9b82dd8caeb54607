/**
 * Where the running slot holds a 4 KiB piece, by the first eight bytes of its digest: for an update from an image that no
 * recipe was made for. What is found is a guess; the block that is made of it is checked.
 *
 * Invariants: 8 MiB at most, for 2 GiB of slot; of a larger one the beginning is known.
 */
import { TRANSPORT_PIECE_BYTES } from '../../protocol/image-transport.ts';
import { sha256 } from '../../trust/crypto.ts';
import type { OldSlotImage } from './old-image.ts';

const PIECES_AT_MOST = 512 * 1024;
export const TABLE_READ_BYTES = 256 * 1024;

export class PieceTable {
  readonly #mask: number;
  /** One part of a piece's digest, 0 for a free place; and the number of the piece. */
  readonly #keys: Uint32Array;
  readonly #pieces: Uint32Array;

  private constructor(pieces: number) {
    // At most two of three places are taken.
    const places = 2 ** Math.ceil(Math.log2(Math.max(pieces, 1) * 1.5));
    this.#mask = places - 1;
    this.#keys = new Uint32Array(places);
    this.#pieces = new Uint32Array(places);
  }

  /** Reads the slot's image, at most `sizeBytes` of it. Rejects when it cannot be read at all. */
  static async of(old: OldSlotImage, sizeBytes: number): Promise<PieceTable> {
    const pieces = Math.min(Math.floor(sizeBytes / TRANSPORT_PIECE_BYTES), PIECES_AT_MOST);
    const table = new PieceTable(pieces);
    for (let piece = 0; piece < pieces; ) {
      const bytes = await old.read(TABLE_READ_BYTES, piece * TRANSPORT_PIECE_BYTES).catch((error: unknown) => {
        if (piece === 0) throw error;
        return undefined;
      });
      if (bytes === undefined) {
        // A place that cannot be read: the pieces there are fetched.
        piece += TABLE_READ_BYTES / TRANSPORT_PIECE_BYTES;
        continue;
      }
      if (bytes.length < TRANSPORT_PIECE_BYTES) break;
      for (let at = 0; at + TRANSPORT_PIECE_BYTES <= bytes.length && piece < pieces; at += TRANSPORT_PIECE_BYTES) {
        table.#add(sha256(bytes.subarray(at, at + TRANSPORT_PIECE_BYTES)), piece);
        piece += 1;
      }
    }
    return table;
  }

  /** The number of an equal piece, probably; undefined for none. */
  find(digest: Uint8Array): number | undefined {
    const { place, key } = this.#start(digest);
    for (let at = place; this.#keys[at] !== 0; at = (at + 1) & this.#mask) {
      if (this.#keys[at] === key) return this.#pieces[at];
    }
    return undefined;
  }

  #add(digest: Uint8Array, piece: number): void {
    const { place, key } = this.#start(digest);
    let at = place;
    for (; this.#keys[at] !== 0; at = (at + 1) & this.#mask) if (this.#keys[at] === key) return;
    this.#keys[at] = key;
    this.#pieces[at] = piece;
  }

  #start(digest: Uint8Array): { place: number; key: number } {
    const view = new DataView(digest.buffer, digest.byteOffset, 8);
    return { place: view.getUint32(0) & this.#mask, key: view.getUint32(4) || 1 };
  }
}
