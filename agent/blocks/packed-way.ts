/**
 * Whole blocks, compressed each for itself: zstd where this runtime has it, gzip otherwise. Neighbours that are wanted
 * together come in one request.
 *
 * Invariants: lengths come from an index that was checked against the image's signed size; a block that does not unpack
 * to exactly its size, or not to what the block map says, comes another way; what arrived when a transfer broke is kept.
 */
import { canUnpack, releaseBytes, unpackInto } from '../../delta/decode/streams.ts';
import {
  decodePackedIndex,
  type PackedCoding,
  type PackedIndex,
  packedIndexEndBytes,
  transportPaths,
} from '../../protocol/image-transport.ts';
import { BLOCK_BYTES, blockSizeBytes, verifyBlock } from '../../trust/blocks.ts';
import type { ImageTransport, RangeMemory } from '../core/ports.ts';
import { OneAtATime } from '../one-at-a-time.ts';
import { type BlockWay, type ImageFacts, type NotGot, notGot, type WantedBlock, type WayOutcome } from './way.ts';

/** Packed neighbours come together up to this. */
const GROUP_BYTES = BLOCK_BYTES;
/** As many lanes, as many groups in use at most. */
const SPARE_GROUPS = 2;

/** Packed blocks that come in one request. */
interface Group {
  readonly offsetBytes: number;
  /** Of `GROUP_BYTES`. */
  readonly memory: Uint8Array;
  readonly into: RangeMemory;
  readonly turn: OneAtATime;
  users: number;
  /** Blocks that nobody took yet. */
  readonly left: Set<number>;
}

export class PackedWay implements BlockWay {
  readonly name = 'packed';
  readonly #facts: ImageFacts;
  readonly #transport: ImageTransport;
  readonly #coding: PackedCoding = canUnpack('zstd') ? 'zstd' : 'gzip';
  readonly #opening = new OneAtATime();
  #index: PackedIndex | undefined;
  #groups: Group[] = [];
  #askAgainMs = Number.NEGATIVE_INFINITY;

  constructor(facts: ImageFacts, transport: ImageTransport) {
    this.#facts = facts;
    this.#transport = transport;
  }

  async obtain(wanted: WantedBlock): Promise<WayOutcome> {
    const index = this.#index ?? (await this.#opening.run(() => this.#open()));
    if ('got' in index) return index;
    const block = index.blocks[wanted.index];
    if (block === undefined) return notGot('packed-malformed', `no block ${wanted.index}`);
    if (block.coding === 'stored') return this.#stored(wanted, block.offsetBytes);
    wanted.memory.forget();
    return this.#fromGroup(wanted, index);
  }

  async close(): Promise<void> {
    this.#groups = [];
  }

  async #open(): Promise<PackedIndex | NotGot> {
    if (this.#index !== undefined) return this.#index;
    const { ports, image, fetched, patience } = this.#facts;
    if (ports.clock.monotonicMs() < this.#askAgainMs) return notGot('in-preparation', 'packed blocks are being made');
    const into = { bytes: new Uint8Array(packedIndexEndBytes(image.sizeBytes)), received: 0 };
    for (;;) {
      const answer = await fetched.read(this.name, this.#transport, this.#path(), 0, into);
      if (answer.found === 'bytes') {
        const index = decodePackedIndex(answer.bytes, image.sizeBytes, this.#coding);
        if (!index.ok) return notGot('packed-malformed', index.detail, { forGood: true });
        this.#index = index.value;
        return this.#index;
      }
      if (answer.found === 'nothing') return notGot(answer.why, 'no packed blocks', { forGood: true });
      if (await patience.wait(answer.afterMs)) continue;
      this.#askAgainMs = ports.clock.monotonicMs() + answer.afterMs;
      return notGot(answer.why, 'packed blocks are being made');
    }
  }

  /** Packed, it would be no smaller: its own bytes, straight to where they belong. */
  async #stored({ index, memory }: WantedBlock, offsetBytes: number): Promise<WayOutcome> {
    const { map, path, fetched } = this.#facts;
    const sizeBytes = blockSizeBytes(map, index);
    const answer = await memory.receive(path, index, sizeBytes, (from, into) =>
      fetched.read(this.name, this.#transport, this.#path(), offsetBytes + from, into),
    );
    const whole = memory.bytes.subarray(0, sizeBytes);
    const came = memory.receivedBytes === sizeBytes;
    memory.forget();
    if (answer.found !== 'bytes') return notGot(answer.found === 'later' ? 'in-preparation' : answer.why, 'no block');
    const verdict = came ? verifyBlock(map, index, whole) : undefined;
    if (verdict?.ok === true) return { got: true, block: verdict.value };
    return notGot('packed-wrong', verdict?.detail ?? 'the packed image is short');
  }

  async #fromGroup({ index, memory, wantedBefore }: WantedBlock, packed: PackedIndex): Promise<WayOutcome> {
    const group = this.#groupOf(index, wantedBefore, packed);
    group.users += 1;
    try {
      const trouble = await group.turn.run(() => this.#fetch(group));
      if (trouble !== undefined) {
        this.#groups = this.#groups.filter((one) => one !== group);
        return trouble;
      }
      return this.#unpack(group, index, memory.bytes, packed);
    } finally {
      group.users -= 1;
    }
  }

  #unpack(group: Group, index: number, into: Uint8Array, packed: PackedIndex): WayOutcome {
    const { map } = this.#facts;
    const block = packed.blocks[index];
    const plain = into.subarray(0, blockSizeBytes(map, index));
    group.left.delete(index);
    const start = (block?.offsetBytes ?? 0) - group.offsetBytes;
    const bytes = group.memory.subarray(start, start + (block?.sizeBytes ?? 0));
    if (block?.coding === 'zeros') plain.fill(0);
    else if (!unpackInto(this.#coding, bytes, plain)) return notGot('packed-wrong', `block ${index} does not unpack`);
    const verdict = verifyBlock(map, index, plain);
    return verdict.ok ? { got: true, block: verdict.value } : notGot('packed-wrong', verdict.detail);
  }

  /** What is missing of it. The bytes that came stay when this throws. */
  async #fetch({ into, offsetBytes, memory }: Group): Promise<NotGot | undefined> {
    const due = into.bytes.length;
    if (into.received === due) return undefined;
    const from = into.received;
    const rest = { bytes: memory.subarray(from, due), received: 0 };
    try {
      const answer = await this.#facts.fetched.read(this.name, this.#transport, this.#path(), offsetBytes + from, rest);
      if (answer.found !== 'bytes')
        return notGot(answer.found === 'later' ? 'in-preparation' : answer.why, 'no packed blocks');
    } finally {
      into.received = from + rest.received;
    }
    return into.received === due ? undefined : notGot('packed-wrong', 'the packed image is short');
  }

  #groupOf(index: number, wantedBefore: number, packed: PackedIndex): Group {
    const known = this.#groups.find(({ left }) => left.has(index));
    if (known !== undefined) return known;
    const { end, offsetBytes, sizeBytes } = neighbours(packed, index, wantedBefore);
    const memory = this.#memory();
    const left = new Set<number>();
    // Blocks of zeros are written without being asked for.
    for (let one = index; one < end; one += 1) if (packed.blocks[one]?.coding !== 'zeros') left.add(one);
    left.add(index);
    const into = { bytes: memory.subarray(0, sizeBytes), received: 0 };
    const group = { offsetBytes, memory, into, turn: new OneAtATime(), users: 0, left };
    this.#groups.push(group);
    return group;
  }

  /** That of a group that is used up; of one that nobody asked for lately; else fresh. */
  #memory(): Uint8Array {
    const idle = this.#groups.filter(({ users }) => users === 0);
    const spent = idle.filter(({ left }) => left.size === 0);
    const taken = spent[0] ?? (idle.length >= SPARE_GROUPS ? idle[0] : undefined);
    // Each lane needed one while blocks came alone; neighbours share one.
    for (const { memory } of spent.slice(1)) releaseBytes(memory);
    this.#groups = this.#groups.filter((one) => one !== taken && !spent.includes(one));
    return taken?.memory ?? new Uint8Array(GROUP_BYTES);
  }

  #path(): string {
    return transportPaths.blocks(this.#facts.image.sha256, this.#coding);
  }
}

/** The packed blocks from `index` on that fit one request; a stored one is fetched by itself. */
function neighbours(packed: PackedIndex, index: number, before: number) {
  const first = packed.blocks[index];
  let end = index + 1;
  let sizeBytes = first?.sizeBytes ?? 0;
  for (; end < before; end += 1) {
    const block = packed.blocks[end];
    if (block === undefined || block.coding === 'stored' || sizeBytes + block.sizeBytes > GROUP_BYTES) break;
    sizeBytes += block.sizeBytes;
  }
  return { end, sizeBytes, offsetBytes: first?.offsetBytes ?? 0 };
}
