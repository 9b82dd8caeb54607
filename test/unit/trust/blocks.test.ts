import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BLOCK_BYTES,
  BLOCK_MAP_CAP_BYTES,
  BlockMapBuilder,
  blockCount,
  blockMapSizeBytes,
  blockSizeBytes,
  decodeBlockMap,
  encodeBlockMap,
  makeBlockMap,
  verifyBlock,
} from '../../../trust/blocks.ts';
import { sha256, sha256Hex } from '../../../trust/crypto.ts';
import { codeOf, flipBit, testImage, unwrap } from './release-fixture.ts';

const SIZE_BYTES = 2 * BLOCK_BYTES + 777;
const IMAGE = testImage('block test', SIZE_BYTES);
const { map } = new BlockMapBuilder().update(IMAGE).finish();
const ENCODED = encodeBlockMap(map);
const blockOf = (index: number) => IMAGE.slice(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);

describe('making', () => {
  it('gives the same map and digest whatever the pieces', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: SIZE_BYTES }), { maxLength: 6 }), (cuts) => {
        const builder = new BlockMapBuilder();
        const edges = [0, ...cuts.sort((a, b) => a - b), SIZE_BYTES];
        for (const [i, edge] of edges.slice(1).entries()) builder.update(IMAGE.subarray(edges[i], edge));
        const made = builder.finish();
        expect(encodeBlockMap(made.map)).toEqual(ENCODED);
        expect(made.sha256).toBe(sha256Hex(IMAGE));
        expect(made.imageSizeBytes).toBe(SIZE_BYTES);
      }),
      { numRuns: 15 },
    );
  });

  it('has the documented layout', () => {
    const view = new DataView(ENCODED.buffer);
    expect(new TextDecoder().decode(ENCODED.subarray(0, 4))).toBe('HFBM');
    expect([view.getUint32(4), Number(view.getBigUint64(8)), view.getUint32(16), view.getUint32(20)]).toEqual([
      ...[1, SIZE_BYTES, BLOCK_BYTES, 3],
    ]);
    expect(ENCODED.subarray(24, 56)).toEqual(sha256(blockOf(0)));
    expect(ENCODED).toHaveLength(blockMapSizeBytes(SIZE_BYTES));
  });

  it('counts blocks at their edges', () => {
    expect([1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1].map(blockCount)).toEqual([1, 1, 1, 2]);
    expect([0, 1, 2].map((index) => blockSizeBytes(map, index))).toEqual([BLOCK_BYTES, BLOCK_BYTES, 777]);
    const even = makeBlockMap(BLOCK_BYTES, [new Uint8Array(32)]);
    expect(blockSizeBytes(even, 0)).toBe(BLOCK_BYTES);
  });

  it('throws for digests that are not as many as the size demands', () => {
    expect(() => makeBlockMap(1, [])).toThrow(RangeError);
    expect(() => makeBlockMap(1, [new Uint8Array(31)])).toThrow(RangeError);
  });
});

describe('decodeBlockMap', () => {
  it('gives back what was encoded', () => {
    expect(unwrap(decodeBlockMap(ENCODED, SIZE_BYTES))).toEqual(map);
  });

  it.each([
    ['the magic', 0],
    ['the version', 7],
    ['the image size', 15],
    ['the block size', 19],
    ['the count', 23],
  ])('refuses a change in %s', (_field, at) => {
    expect(codeOf(decodeBlockMap(flipBit(ENCODED, at), SIZE_BYTES))).toBe('block-map-malformed');
  });

  it('refuses a map that is cut, longer, empty, or for another size', () => {
    expect(codeOf(decodeBlockMap(ENCODED.slice(0, -1), SIZE_BYTES))).toBe('block-map-malformed');
    expect(codeOf(decodeBlockMap(Uint8Array.of(...ENCODED, 0), SIZE_BYTES))).toBe('block-map-malformed');
    expect(codeOf(decodeBlockMap(new Uint8Array(0), SIZE_BYTES))).toBe('block-map-malformed');
    expect(codeOf(decodeBlockMap(ENCODED, SIZE_BYTES + 1))).toBe('block-map-malformed');
  });

  it('refuses a map beyond the cap', () => {
    expect(codeOf(decodeBlockMap(new Uint8Array(BLOCK_MAP_CAP_BYTES + 1), SIZE_BYTES))).toBe('input-too-large');
  });

  it('reads a map that stands inside a larger buffer', () => {
    const inside = Uint8Array.of(9, 9, 9, ...ENCODED).subarray(3);
    expect(unwrap(decodeBlockMap(inside, SIZE_BYTES))).toEqual(map);
  });
});

describe('verifyBlock', () => {
  it('accepts every block of the image', () => {
    for (const index of [0, 1, 2]) expect(codeOf(verifyBlock(map, index, blockOf(index)))).toBe('accepted');
  });

  it('refuses one flipped bit in a block', () => {
    expect(codeOf(verifyBlock(map, 1, flipBit(blockOf(1), 123_456, 5)))).toBe('block-digest-mismatch');
  });

  it('refuses a genuine block in another place', () => {
    expect(codeOf(verifyBlock(map, 0, blockOf(1)))).toBe('block-digest-mismatch');
  });

  it('refuses a block with a byte less or more', () => {
    expect(codeOf(verifyBlock(map, 2, blockOf(2).slice(1)))).toBe('image-size-mismatch');
    expect(codeOf(verifyBlock(map, 2, Uint8Array.of(...blockOf(2), 0)))).toBe('image-size-mismatch');
  });

  it('throws for a block that the image does not have', () => {
    for (const index of [-1, 3, 0.5]) expect(() => verifyBlock(map, index, blockOf(0))).toThrow(RangeError);
  });
});
