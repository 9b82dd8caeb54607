import { deflateSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { DeltaDecoder, readRecipeIndex } from '../../../delta/decode/decoder.ts';
import { puff } from '../../../delta/decode/puff.ts';
import {
  DEFLATED_CAP_BYTES,
  encodeRecipeIndex,
  INPUTS_AT_MOST,
  OPERATIONS,
  PUFFED_CAP_BYTES,
  STREAMS,
  type StreamName,
} from '../../../delta/format.ts';
import { ByteWriter } from '../../../delta/varint.ts';
import { BlockMapBuilder } from '../../../trust/blocks.ts';
import { concat } from '../../../trust/bytes.ts';

/** An old image that is one deflate stream, which the new image has too. */
const STREAM = deflateSync(Buffer.alloc(5000, 'text that is the same in both images'));
const PREFIX_BYTES = 2;
const room = new Uint8Array(PUFFED_CAP_BYTES);
const PUFFED = room.slice(0, puff(STREAM, PREFIX_BYTES, room));

interface Input {
  readonly offset: number;
  readonly length: number;
  readonly prefix: number;
  readonly puffed: number;
}

const INPUT: Input = { offset: 0, length: STREAM.length, prefix: PREFIX_BYTES, puffed: PUFFED.length };
/** Makes the stream whole from the old one. */
const GOOD = {
  start: 0,
  prefix: PREFIX_BYTES,
  puffed: PUFFED.length,
  inputs: [INPUT],
  parts: [{ kind: OPERATIONS.add as number, length: PUFFED.length, source: 0 }],
  times: 1,
};

/** What comes of a recipe of one block, which is `told.times` deflate streams and nothing else. */
async function outcomeOf(told: typeof GOOD, old: Uint8Array = STREAM): Promise<string> {
  const writers = Object.fromEntries(STREAMS.map((name) => [name, new ByteWriter()])) as Record<StreamName, ByteWriter>;
  const fresh = concat(...Array.from({ length: told.times }, () => STREAM));
  let equalBytes = 0;
  for (let time = 0; time < told.times; time += 1) {
    writers.kinds.byte(OPERATIONS.deflate);
    writers.lengths.unsigned(STREAM.length);
    for (const value of [told.start, told.prefix, told.puffed, told.inputs.length]) writers.deflated.unsigned(value);
    for (const { offset, length, prefix, puffed } of told.inputs) {
      writers.deflated.signed(time === 0 ? offset : offset - STREAM.length);
      for (const value of [length, prefix, puffed]) writers.deflated.unsigned(value);
    }
    let end = 0;
    for (const { kind, length, source } of told.parts) {
      writers.kinds.byte(kind);
      writers.lengths.unsigned(length);
      writers.offsets.signed(source - end);
      end = source + length;
      equalBytes += length;
    }
  }
  writers.gaps.unsigned(equalBytes);
  writers.runs.unsigned(0);
  const streams = STREAMS.map((name) => writers[name].take());
  const header = {
    oldSizeBytes: STREAM.length,
    newSizeBytes: fresh.length,
    oldSha256: new Uint8Array(32),
    newSha256: new Uint8Array(32),
    packCount: 1,
  };
  const entries = streams.map((bytes) => ({ codec: 0, packedBytes: bytes.length, plainBytes: bytes.length }));
  const pack = { firstBlock: 0, blockCount: 1, offsetBytes: 0, sizeBytes: 0, streams: entries };
  const recipe = concat(encodeRecipeIndex(header, [pack]), ...streams);
  const reader = {
    read: async (length: number, position: number) => recipe.subarray(position, position + length),
  };
  const index = await readRecipeIndex(reader, recipe.length);
  if (!index.ok) throw new Error(index.detail);
  const { map } = new BlockMapBuilder().update(fresh).finish();
  const oldReader = { read: async (length: number, position: number) => old.subarray(position, position + length) };
  const decoder = new DeltaDecoder({ index: index.value, recipe: reader, old: oldReader, map });
  const outcome = await decoder.produce(0, new Uint8Array(map.blockBytes));
  return outcome.made ? 'made' : outcome.why;
}

const add = (length: number, source: number) => [{ kind: OPERATIONS.add as number, length, source }];
const large = { ...INPUT, puffed: PUFFED_CAP_BYTES / 2 };

describe('a deflate stream in a recipe', () => {
  test('is made of an old one', async () => {
    expect(await outcomeOf(GOOD)).toBe('made');
    expect(await outcomeOf({ ...GOOD, times: 50 })).toBe('made');
  });

  test.each([
    ['that starts where no stream may reach', { start: DEFLATED_CAP_BYTES - STREAM.length + 1 }],
    ['with a header beyond the cap', { prefix: DEFLATED_CAP_BYTES + 1 }],
    ['of more puffed bytes than the cap', { puffed: PUFFED_CAP_BYTES + 1 }],
    ['of more old streams than the cap', { inputs: Array.from({ length: INPUTS_AT_MOST + 1 }, () => INPUT) }],
    [
      'whose old streams are together more than the cap',
      { inputs: [large, { ...large, offset: -STREAM.length }, { ...INPUT, offset: -STREAM.length }] },
    ],
    ['of an old stream beyond the old image', { inputs: [{ ...INPUT, offset: 1 }] }],
    ['of an old stream before the old image', { inputs: [{ ...INPUT, offset: -1 }] }],
    ['of an old stream that is all header and more', { inputs: [{ ...INPUT, prefix: STREAM.length + 1 }] }],
    ['that reads beyond its old streams', { parts: add(PUFFED.length, 1) }],
    ['that reads before its old streams', { parts: add(PUFFED.length, -1) }],
    ['whose parts are more than it', { parts: add(PUFFED.length + 1, 0) }],
    ['whose parts are less than it', { parts: add(PUFFED.length - 1, 0) }],
    [
      'that holds another operation',
      { parts: [{ kind: OPERATIONS.move as number, length: PUFFED.length, source: 0 }] },
    ],
    [
      'that holds another stream',
      { parts: [{ kind: OPERATIONS.deflate as number, length: PUFFED.length, source: 0 }] },
    ],
    // Each of the 40 is within its caps; what the block asks for is not.
    [
      'of a block that asks for more work than the cap',
      { times: 40, inputs: [{ ...INPUT, puffed: PUFFED_CAP_BYTES }] },
    ],
  ])('%s is refused before anything is read', async (_, change) => {
    let reads = 0;
    const watched = new Proxy(STREAM, {
      get: (target, key) => {
        reads += 1;
        return Reflect.get(target, key);
      },
    });
    expect(await outcomeOf({ ...GOOD, ...change }, watched)).toBe('recipe-malformed');
    expect(reads).toBe(0);
  });

  test('whose old stream is another one by now fails as a changed source', async () => {
    const other = Buffer.alloc(STREAM.length, 0xff);
    expect(await outcomeOf(GOOD, other)).toBe('source-changed');
    expect(await outcomeOf({ ...GOOD, inputs: [{ ...INPUT, puffed: PUFFED.length + 1 }] })).toBe('source-changed');
  });

  test('that spells no deflate stream fails as a wrong result', async () => {
    expect(await outcomeOf({ ...GOOD, start: 1 })).toBe('result-wrong');
    expect(await outcomeOf({ ...GOOD, puffed: PUFFED.length - 1, parts: add(PUFFED.length - 1, 1) })).toBe(
      'result-wrong',
    );
  });

  test('of an old slot that cannot be read fails so', async () => {
    expect(await outcomeOf(GOOD, new Uint8Array(10))).toBe('source-unreadable');
  });
});
