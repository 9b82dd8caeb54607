/** A block as it is, from the image itself: what always works, and what a wrong block is a refusal of. */
import { blockSizeBytes, verifyBlock } from '../../trust/blocks.ts';
import type { Verified } from '../../trust/bytes.ts';
import { accept, type Verdict } from '../../trust/refusal.ts';
import type { ImageFacts, WantedBlock } from './way.ts';

/** Goes on where a transfer of this block broke. Throws SourceUnreachable. */
export async function fetchWhole(
  facts: ImageFacts,
  { index, memory }: WantedBlock,
): Promise<Verdict<Verified<Uint8Array>>> {
  const { map, path, ports, fetched: count } = facts;
  const sizeBytes = blockSizeBytes(map, index);
  const fetched = await memory.receive(path, index, sizeBytes, async (from, into) => {
    const offset = index * map.blockBytes + from;
    const answer = await count.counting('whole', into, async () => {
      const range = await ports.source.fetchRange(path, offset, into.bytes.length, into);
      // A source that has the bytes in memory of its own: they are needed in ours, which is aligned.
      if (range.ok && range.value.buffer !== into.bytes.buffer) {
        into.bytes.set(range.value.subarray(0, into.bytes.length));
        into.received = Math.min(range.value.length, into.bytes.length);
      }
      return range;
    });
    if (!answer.ok) return answer;
    return accept(memory.bytes.subarray(0, from + answer.value.length));
  });
  const block = fetched.ok ? verifyBlock(map, index, fetched.value) : fetched;
  memory.forget();
  return block;
}
