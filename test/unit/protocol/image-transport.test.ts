import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PIECE_BYTES } from '../../../delta/format.ts';
import {
  checkPieceIndexHeader,
  decodePackedIndex,
  decodePieceRuns,
  encodePackedIndex,
  encodePieceIndexHeader,
  encodePieceRuns,
  PACKED_HEADER_BYTES,
  PIECES_BODY_CAP_BYTES,
  PIECES_PER_REQUEST,
  packedIndexEndBytes,
  pieceCount,
  pieceDigestRange,
  pieceIndexSizeBytes,
  piecesPlainBytes,
  TRANSPORT_PIECE_BYTES,
  transportPaths,
} from '../../../protocol/image-transport.ts';
import { BLOCK_BYTES } from '../../../trust/blocks.ts';

/** Three blocks, the last of 100 bytes. */
const SIZE = 2 * BLOCK_BYTES + 100;

test('a piece is what a recipe copies', () => {
  expect(TRANSPORT_PIECE_BYTES).toBe(PIECE_BYTES);
});

test('paths of an image', () => {
  const [image, old] = ['a'.repeat(64), 'b'.repeat(64)];
  expect(transportPaths.blocks(image, 'zstd')).toBe(`/device/v1/transport/${image}/blocks`);
  expect(transportPaths.blocks(image, 'gzip')).toBe(`/device/v1/transport/${image}/blocks?coding=gzip`);
  expect(transportPaths.recipe(image, old)).toBe(`/device/v1/transport/${image}/from/${old}`);
  expect(transportPaths.pieces(image)).toBe(`/device/v1/transport/${image}/pieces`);
});

describe('the index of packed blocks', () => {
  const sizes = [0, 5000, 100];
  const good = encodePackedIndex('zstd', sizes);

  test('tells where each block lies, and how it is coded', () => {
    const end = packedIndexEndBytes(SIZE);
    expect(good).toHaveLength(end);
    expect(decodePackedIndex(good, SIZE, 'zstd')).toEqual({
      ok: true,
      value: {
        coding: 'zstd',
        sizeBytes: end + 5100,
        blocks: [
          { offsetBytes: end, sizeBytes: 0, coding: 'zeros' },
          { offsetBytes: end, sizeBytes: 5000, coding: 'zstd' },
          { offsetBytes: end + 5000, sizeBytes: 100, coding: 'stored' },
        ],
      },
    });
  });

  const altered = (at: number, value: number): Uint8Array => {
    const bytes = good.slice();
    new DataView(bytes.buffer).setUint32(at, value);
    return bytes;
  };
  test.each([
    ['cut off', good.subarray(0, good.length - 1)],
    ['of another magic', altered(0, 1)],
    ['of another version', altered(4, 2)],
    ['in another coding', encodePackedIndex('gzip', sizes)],
    ['in an unknown coding', altered(8, 9)],
    ['of another count', altered(12, 4)],
    ['with a block larger than it is plain', altered(PACKED_HEADER_BYTES + 4, BLOCK_BYTES + 1)],
    ['with a last block larger than it is plain', altered(PACKED_HEADER_BYTES + 8, 101)],
  ])('%s is refused', (_what, bytes) => {
    expect(decodePackedIndex(bytes, SIZE, 'zstd').ok).toBe(false);
  });
});

test('the header of the piece index is that of one size, and of nothing else', () => {
  const header = encodePieceIndexHeader(SIZE);
  expect(checkPieceIndexHeader(header, SIZE).ok).toBe(true);
  expect(checkPieceIndexHeader(header, SIZE + 1).ok).toBe(false);
  expect(checkPieceIndexHeader(header.subarray(1), SIZE).ok).toBe(false);
  for (const at of header.keys()) {
    const wrong = header.with(at, (header[at] ?? 0) ^ 1);
    expect(checkPieceIndexHeader(wrong, SIZE).ok).toBe(false);
  }
  expect(pieceIndexSizeBytes(SIZE)).toBe(24 + 513 * 8);
  expect(pieceDigestRange(512, 1)).toEqual({ offset: 24 + 512 * 8, length: 8 });
});

describe('a list of pieces', () => {
  const decode = (...runs: [number, number][]) =>
    decodePieceRuns(encodePieceRuns(runs.map(([first, count]) => ({ first, count }))), SIZE);

  test('is taken when it is ascending and within the image, whatever the runs', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(20), fc.integer({ min: 1, max: 20 })), { minLength: 1, maxLength: 12 }),
        (gaps) => {
          let end = 0;
          const runs = gaps.map(([gap, count]) => {
            const first = end + gap;
            end = first + count;
            return { first, count };
          });
          const decoded = decodePieceRuns(encodePieceRuns(runs), SIZE);
          expect(decoded).toEqual({ ok: true, value: runs });
        },
      ),
    );
  });

  test('counts the last piece as long as it is', () => {
    expect(piecesPlainBytes([{ first: 511, count: 2 }], SIZE)).toBe(4096 + 100);
    expect(pieceCount(SIZE)).toBe(513);
    expect(decode([511, 2]).ok).toBe(true);
  });

  test.each<[string, [number, number][]]>([
    ['empty', []],
    ['a run of nothing', [[1, 0]]],
    [
      'the same run twice',
      [
        [1, 1],
        [1, 1],
      ],
    ],
    [
      'overlapping',
      [
        [1, 3],
        [3, 1],
      ],
    ],
    [
      'descending',
      [
        [5, 1],
        [1, 1],
      ],
    ],
    ['beyond the image', [[512, 2]]],
    ['far beyond the image', [[0xffffffff, 0xffffffff]]],
    ['a sum that wraps around 32 bits', [[1, 0xffffffff]]],
  ])('%s is refused', (_what, runs) => {
    expect(decode(...runs).ok).toBe(false);
  });

  test('of more than the cap is refused, one of the cap is not', () => {
    const large = 100 * BLOCK_BYTES;
    const list = (count: number) => decodePieceRuns(encodePieceRuns([{ first: 7, count }]), large).ok;
    expect([list(PIECES_PER_REQUEST), list(PIECES_PER_REQUEST + 1)]).toEqual([true, false]);
    const single = Array.from({ length: PIECES_PER_REQUEST }, (_, index) => ({ first: 2 * index, count: 1 }));
    expect(encodePieceRuns(single)).toHaveLength(PIECES_BODY_CAP_BYTES);
    expect(decodePieceRuns(encodePieceRuns(single), large).ok).toBe(true);
    const body = new Uint8Array(PIECES_BODY_CAP_BYTES + 8);
    expect(decodePieceRuns(body, large).ok).toBe(false);
    expect(decodePieceRuns(new Uint8Array(9), large).ok).toBe(false);
  });
});
