import { deflateRawSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { puff, unpuff } from '../../../delta/decode/puff.ts';
import { matchNew, SeedIndex } from '../../../delta/encode/matcher.ts';
import { equalBytes } from '../../../trust/bytes.ts';

const puffed = new Uint8Array(1024 * 1024);
const back = new Uint8Array(1024 * 1024);

/** Text, runs and noise, as files have them. */
const Plain = fc
  .array(
    fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 3000 }),
      fc.tuple(fc.nat(255), fc.integer({ min: 1, max: 40_000 })).map(([byte, count]) => Buffer.alloc(count, byte)),
      fc
        .tuple(fc.string({ minLength: 1 }), fc.integer({ min: 1, max: 9000 }))
        .map(([text, count]) => Buffer.alloc(count, text)),
    ),
    { maxLength: 12 },
  )
  .map((parts) => Buffer.concat(parts));

function roundTrip(stream: Uint8Array, prefixBytes: number): void {
  const length = puff(stream, prefixBytes, puffed);
  expect(length).toBeDefined();
  const again = unpuff(puffed.subarray(0, length), prefixBytes, back);
  expect(again).toBe(stream.length);
  expect(equalBytes(back.subarray(0, again), stream)).toBe(true);
}

test('a deflate stream of any level and strategy comes back the same', () => {
  const Options = fc.record({
    level: fc.integer({ min: 0, max: 9 }),
    strategy: fc.integer({ min: 0, max: 4 }),
    windowBits: fc.integer({ min: 9, max: 15 }),
    memLevel: fc.integer({ min: 1, max: 9 }),
  });
  fc.assert(
    fc.property(Plain, Options, (plain, options) => roundTrip(deflateRawSync(plain, options), 0)),
    { numRuns: 200 },
  );
});

test('what stands before and after the stream stays as it is', () => {
  const stream = gzipSync(Buffer.alloc(5000, 'gzip has a header and a trailer'));
  roundTrip(Buffer.concat([Buffer.from('head'), stream, Buffer.from('tail')]), 4 + 10);
});

test('a change in the text leaves most of the puffed bytes alike, and fewer of the stream', () => {
  const text = Buffer.from(Array.from({ length: 3000 }, (_, i) => `line ${i} of a file, ${(i * i) % 977}\n`).join(''));
  const changed = Buffer.from(text);
  changed.write('LINE', 9000);
  const streams = [text, changed].map((plain) => deflateRawSync(plain));
  const puffedStreams = streams.map((stream) => puffed.slice(0, puff(stream, 0, puffed)));
  expect(unlike(puffedStreams)).toBeLessThan(unlike(streams) / 4);
});

/** The share of the second that is like nothing of the first. */
function unlike([old = new Uint8Array(0), fresh = new Uint8Array(0)]: readonly Uint8Array[]): number {
  let freshBytes = 0;
  matchNew(new SeedIndex(old), fresh, 0, {
    near(start, length, source) {
      for (let i = 0; i < length; i += 1) if (old[source + i] !== fresh[start + i]) freshBytes += 1;
    },
    fresh(_start, length) {
      freshBytes += length;
    },
  });
  return freshBytes / fresh.length;
}

test('anything else is refused or comes back the same, and never overruns', () => {
  const valid = deflateRawSync(Buffer.alloc(20_000, 'some text that repeats, and some that does not 0123456789'));
  const Damage = fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { maxLength: 4 });
  fc.assert(
    fc.property(Damage, fc.nat(valid.length), fc.integer({ min: 0, max: 600 }), (damage, length, room) => {
      const stream = valid.slice(0, length);
      for (const [at, byte] of damage) if (at < length) stream[at] = byte;
      for (const out of [puffed, puffed.subarray(0, room)]) {
        const written = puff(stream, 0, out);
        if (written === undefined) continue;
        expect(written).toBeLessThanOrEqual(out.length);
        const again = unpuff(out.subarray(0, written), 0, back);
        expect(again === stream.length && equalBytes(back.subarray(0, again), stream)).toBe(true);
      }
    }),
    { numRuns: 500 },
  );
});

test('noise is unpuffed to something or refused, never past its room', () => {
  let made = 0;
  const Noise = fc.uint8Array({ maxLength: 400 }).map((bytes) => Uint8Array.from([3, ...bytes, 127]));
  const valid = deflateRawSync(Buffer.alloc(3000, 'something to damage'));
  const length = puff(valid, 0, puffed) ?? 0;
  const whole = puffed.slice(0, length);
  const Damaged = fc.array(fc.tuple(fc.nat(length - 1), fc.nat(255)), { maxLength: 3 }).map((damage) => {
    const bytes = whole.slice();
    for (const [at, byte] of damage) bytes[at] = byte;
    return bytes;
  });
  fc.assert(
    fc.property(fc.oneof(Noise, Damaged), fc.integer({ min: 0, max: 2000 }), (bytes, room) => {
      const out = new Uint8Array(room);
      const written = unpuff(bytes, 0, out);
      if (written === undefined) return;
      made += 1;
      expect(written).toBeLessThanOrEqual(room);
    }),
    { numRuns: 500 },
  );
  expect(made).toBeGreaterThan(0);
});
