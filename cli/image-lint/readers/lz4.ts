/**
 * One LZ4 block, decoded as far as wanted. Format: github.com/lz4/lz4, doc/lz4_Block_format.md.
 *
 * Invariants: never more than `wantedBytes` are made, whatever the block says; each number is checked before it is used.
 */
const LEAST_MATCH = 4;
const LONG = 15;

/** Throws RangeError for a block that is damaged, or ends before so many bytes are made. */
export function decodeLz4Block(block: Uint8Array, wantedBytes: number): Buffer {
  const made = Buffer.alloc(wantedBytes);
  let [at, to] = [0, 0];
  const byte = (): number => {
    const value = block[at];
    if (value === undefined) throw new RangeError('the block ends too early');
    at += 1;
    return value;
  };
  const length = (nibble: number): number => {
    if (nibble < LONG) return nibble;
    let sum = nibble;
    for (let more = 255; more === 255; ) {
      more = byte();
      sum += more;
    }
    return sum;
  };
  while (to < wantedBytes) {
    const token = byte();
    const literals = Math.min(length(token >> 4), wantedBytes - to);
    if (at + literals > block.length) throw new RangeError('the block ends too early');
    made.set(block.subarray(at, at + literals), to);
    at += literals;
    to += literals;
    if (to === wantedBytes) break;
    const distance = byte() + 256 * byte();
    if (distance === 0 || distance > to) throw new RangeError('a match lies before the beginning');
    const end = Math.min(to + LEAST_MATCH + length(token & LONG), wantedBytes);
    // Byte by byte where they overlap: a match may repeat what it just made.
    if (distance >= end - to) made.copy(made, to, to - distance, end - distance);
    else for (let next = to; next < end; next += 1) made[next] = made[next - distance] ?? 0;
    to = end;
  }
  return made;
}
