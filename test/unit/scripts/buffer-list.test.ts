import { createRequire } from 'node:module';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const require = createRequire(import.meta.url);

interface List {
  readonly length: number;
  append(bytes: Buffer): List;
  consume(count: number): List;
  slice(start: number, end: number): Buffer;
  toString(encoding: BufferEncoding, start: number, end: number): string;
  readUInt8(at: number): number;
  readUInt16BE(at: number): number;
  readUInt32BE(at: number): number;
}

const ours: () => List = require('../../../scripts/build/buffer-list.cjs');
// The original comes with mqtt, and is found from there.
const original: () => List = createRequire(require.resolve('mqtt'))('bl');

type Step = readonly ['append', Uint8Array] | readonly ['consume', number] | readonly ['read', number];

const Steps = fc.array(
  fc.oneof(
    fc.tuple(fc.constant('append' as const), fc.uint8Array({ maxLength: 40 })),
    fc.tuple(fc.constant('consume' as const), fc.nat(50)),
    fc.tuple(fc.constant('read' as const), fc.nat(30)),
  ),
);

function play(list: List, steps: readonly Step[]): unknown[] {
  return steps.map((step) => {
    if (step[0] === 'append') list.append(Buffer.from(step[1]));
    if (step[0] === 'consume') list.consume(step[1]);
    const at = step[0] === 'read' ? step[1] : 0;
    const read = [
      list.length < at + 1 ? undefined : list.readUInt8(at),
      list.length < at + 2 ? undefined : list.readUInt16BE(at),
      list.length < at + 4 ? undefined : list.readUInt32BE(at),
    ];
    const end = Math.min(at + 7, list.length);
    const text = at < end ? [list.toString('utf8', at, end), list.slice(at, end).toString('hex')] : [];
    return [list.length, ...read, ...text];
  });
}

describe("the shipped agent's list of buffers", () => {
  it('gives what the original gives, whatever comes in which pieces', () => {
    fc.assert(
      fc.property(Steps, (steps) => {
        expect(play(ours(), steps)).toEqual(play(original(), steps));
      }),
    );
  });
});
