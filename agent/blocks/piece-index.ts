/** The digests of an image's 4 KiB pieces, a window of them at a time. Only a hint to what is missing. */
import {
  PIECE_DIGEST_BYTES,
  pieceCount,
  pieceDigestRange,
  pieceIndexSizeBytes,
  TRANSPORT_PIECE_BYTES,
  transportPaths,
} from '../../protocol/image-transport.ts';
import { BLOCK_BYTES } from '../../trust/blocks.ts';
import { equalBytes } from '../../trust/bytes.ts';
import { sha256 } from '../../trust/crypto.ts';
import type { ImageTransport } from '../core/ports.ts';
import { type ImageFacts, type NotGot, notGot } from './way.ts';

export const PIECES_PER_BLOCK = BLOCK_BYTES / TRANSPORT_PIECE_BYTES;

export class PieceIndex {
  readonly #facts: ImageFacts;
  readonly #transport: ImageTransport;
  /** Number of the first piece, and digests one after another. */
  #window: { readonly first: number; readonly digests: Uint8Array } = { first: 0, digests: new Uint8Array(0) };

  constructor(facts: ImageFacts, transport: ImageTransport) {
    this.#facts = facts;
    this.#transport = transport;
  }

  /** Sees to it that the digests of these blocks are at hand. */
  async load(firstBlock: number, endBlock: number): Promise<NotGot | undefined> {
    const { image, fetched, patience } = this.#facts;
    const first = firstBlock * PIECES_PER_BLOCK;
    const end = Math.min(endBlock * PIECES_PER_BLOCK, pieceCount(image.sizeBytes));
    if (this.digestOf(first) !== undefined && this.digestOf(end - 1) !== undefined) return undefined;
    const { offset, length } = pieceDigestRange(first, end - first);
    const into = { bytes: new Uint8Array(length), received: 0 };
    for (;;) {
      const path = transportPaths.pieces(image.sha256);
      const answer = await fetched.read('pieces', this.#transport, path, offset, into);
      if (answer.found === 'bytes') {
        const right = answer.totalBytes === pieceIndexSizeBytes(image.sizeBytes) && answer.bytes.length === length;
        if (!right) return notGot('pieces-malformed', `an index of ${answer.totalBytes} bytes`, { forGood: true });
        this.#window = { first, digests: answer.bytes };
        return undefined;
      }
      if (answer.found === 'nothing') return notGot(answer.why, 'no piece index', { forGood: true });
      if (!(await patience.wait(answer.afterMs))) return notGot(answer.why, 'the piece index is being made');
    }
  }

  /** Truncated; undefined when it is not at hand. */
  digestOf(piece: number): Uint8Array | undefined {
    const at = (piece - this.#window.first) * PIECE_DIGEST_BYTES;
    const digest = at < 0 ? undefined : this.#window.digests.subarray(at, at + PIECE_DIGEST_BYTES);
    return digest?.length === PIECE_DIGEST_BYTES ? digest : undefined;
  }

  isRight(piece: number, bytes: Uint8Array): boolean {
    const digest = this.digestOf(piece);
    return digest !== undefined && equalBytes(sha256(bytes).subarray(0, PIECE_DIGEST_BYTES), digest);
  }
}
