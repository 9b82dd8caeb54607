/**
 * The read-back: every byte of every image that was written, read from the medium, against the digest in the SUIT
 * manifest, whatever the journal says.
 *
 * Where the file system does not read past the page cache, the bytes may come from memory: that is told, not hidden.
 */
import { type BlockMap, blockSizeBytes, verifyBlock } from '../trust/blocks.ts';
import { hex } from '../trust/bytes.ts';
import { Sha256 } from '../trust/crypto.ts';
import { type Refusal, refuse } from '../trust/refusal.ts';
import type { ReleaseImage } from '../trust/release.ts';
import { type BlockMemory, InstallMemory } from './block-memory.ts';
import type { EnginePorts, Slot } from './core/ports.ts';
import { blockMapOf, type ObtainedRelease } from './obtain-release.ts';
import type { SlotFile } from './storage/slot-file.ts';
import { openForReading } from './storage/slot-image.ts';

/** What the read-back found. */
export type ReadBack =
  /** `cached`: the images whose bytes may have come from memory and not from the medium. */
  | { readonly found: 'equal'; readonly cached: readonly string[] }
  /** The blocks are those of the block map, and the whole is not what the manifest signs. */
  | { readonly found: 'refused'; readonly refusal: Refusal }
  /** The slot gives back other bytes than were written. */
  | { readonly found: 'disk-altered'; readonly detail: string };

/** Reads every image of the slot, whole, and compares with the digest in the SUIT manifest. */
export function readBack(
  ports: Pick<EnginePorts, 'disk' | 'board'>,
  obtained: ObtainedRelease,
  target: Slot,
): Promise<ReadBack> {
  return InstallMemory.use(async (memory) => {
    const cached: string[] = [];
    for (const image of obtained.release.images) {
      const file = await openForReading(ports, target, image.component);
      if (file === undefined) return { found: 'disk-altered', detail: `${image.component}: the image is gone` };
      try {
        const result = await readBackImage(file, memory, blockMapOf(obtained, image), image);
        if (result !== 'equal') return result;
        if (!file.isDirect) cached.push(image.component);
      } finally {
        await file.close();
      }
    }
    return { found: 'equal', cached };
  });
}

async function readBackImage(
  file: SlotFile,
  memory: InstallMemory,
  map: BlockMap,
  image: ReleaseImage,
): Promise<'equal' | ReadBack> {
  const whole = new Sha256();
  await eachBlock(file, memory, map, (_index, bytes) => whole.update(bytes));
  const found = hex(whole.digest());
  if (found === image.sha256) return 'equal';
  // Whose fault is it? Blocks that differ from the block map are the disk's; else map and manifest disagree.
  const wrong: number[] = [];
  await eachBlock(file, memory, map, (index, bytes) => {
    if (!verifyBlock(map, index, bytes).ok) wrong.push(index);
  });
  if (wrong.length > 0) {
    return { found: 'disk-altered', detail: `${image.component}: block ${wrong[0]} reads back differently` };
  }
  const detail = `${image.component}: signed ${image.sha256}, read back ${found}`;
  return { found: 'refused', refusal: refuse('image-digest-mismatch', detail) };
}

/** In order; the next blocks are being read while one is looked at. */
async function eachBlock(
  file: SlotFile,
  { blocks: memories }: InstallMemory,
  map: BlockMap,
  look: (index: number, bytes: Uint8Array) => void,
): Promise<void> {
  const read = async (index: number, memory: BlockMemory): Promise<Uint8Array> => {
    memory.forget();
    const bytes = memory.bytes.subarray(0, blockSizeBytes(map, index));
    return bytes.subarray(0, await file.readInto(bytes, index * map.blockBytes));
  };
  const coming: Promise<Uint8Array>[] = [];
  const start = (index: number): void => {
    const memory = memories[index % memories.length];
    if (memory === undefined || index >= map.count) return;
    const reading = read(index, memory);
    // Awaited in its turn; a failure before that must not count as unhandled.
    reading.catch(() => {});
    coming.push(reading);
  };
  for (let index = 0; index < memories.length; index += 1) start(index);
  try {
    for (let index = 0; index < map.count; index += 1) {
      look(index, (await coming.shift()) ?? new Uint8Array(0));
      start(index + memories.length);
    }
  } finally {
    await Promise.allSettled(coming);
  }
}
