/**
 * Compressed files of an erofs: an index with one entry for each logical cluster says where a run of packed bytes begins,
 * and each run is one LZ4 block, or bytes as they are. Layout: Linux kernel, fs/erofs/erofs_fs.h and zmap.c.
 *
 * Invariants: nothing is unpacked beyond what is wanted, and the index is read no further; each number is checked against
 * the image's size or a cap before it is used.
 */
import type { ByteSource } from '../byte-source.ts';
import { Unreadable } from '../tree.ts';
import { decodeLz4Block } from './lz4.ts';

const TYPE = { plain: 0, head: 1, inside: 2, head2: 3 } as const;
const ADVICE = { pairs: 0x1, bigRuns: 0x2, bigRuns2: 0x4, tailInInode: 0x8, interlaced: 0x10, fragment: 0x20 } as const;
/** In an entry inside of a run: the number is how many blocks the run has. */
const IS_BLOCK_COUNT = 0x800;
/** The longest that the kernel takes. */
const RUN_CAP_BYTES = 1024 * 1024;
const HEADER_BYTES = 8;
/** Hops back from the end to the head of the last run. */
const HOPS_AT_MOST = 100_000;

export interface ErofsFacts {
  readonly blockBits: number;
  /** A packed run ends with its last block; before it stand zeros. */
  readonly leadingZeros: boolean;
  /** Old images have no header before their index, but room for it. */
  readonly hasHeaders: boolean;
}

interface CompressedInode {
  readonly sizeBytes: number;
  readonly endBytes: number;
}

/** What a file's header says. */
interface Map {
  readonly kind: 'full' | 'compact';
  readonly advice: number;
  readonly clusterBits: number;
  readonly clusters: number;
  readonly indexAt: number;
  /** Packed bytes of the last run, behind the index; 0: it lies in blocks as others do. */
  readonly tailBytes: number;
}

interface Cluster {
  readonly type: number;
  /** Of a head: where in its cluster the run begins. */
  readonly offset: number;
  /** Of a head: the first block. */
  readonly block: number;
  /** Inside of a run: how many clusters the head lies before; 0 in a head. */
  readonly back: number;
  /** Blocks of the run, where this entry says it. */
  readonly runBlocks: number | undefined;
  /** The first byte behind this entry, or the pack that it stands in. */
  readonly behind: number;
}

/** A run from its head to the next head. */
interface Run {
  readonly fromBytes: number;
  readonly head: Cluster;
  readonly index: number;
}

export class ErofsClusters {
  readonly #source: ByteSource;
  readonly #facts: ErofsFacts;

  constructor(source: ByteSource, facts: ErofsFacts) {
    this.#source = source;
    this.#facts = facts;
  }

  /** Throws RangeError for damage, Unreadable for what is not known. */
  content(inode: CompressedInode, wanted: number, kind: Map['kind']): Buffer {
    const made = Buffer.alloc(wanted);
    const map = this.#map(inode, kind);
    const tail = map.tailBytes === 0 ? undefined : this.#tail(map, inode.sizeBytes);
    const runs = this.#runs(map, wanted);
    if (runs[0]?.fromBytes !== 0) throw new RangeError('the file has no beginning');
    for (const [at, run] of runs.entries()) {
      const toBytes = Math.min(runs[at + 1]?.fromBytes ?? wanted, wanted);
      if (toBytes <= run.fromBytes) throw new RangeError('runs out of order');
      const packed = run.index === tail?.head ? this.#source.read(tail.at, map.tailBytes) : this.#packed(map, run);
      this.#unpacked(packed, run.head.type, toBytes - run.fromBytes).copy(made, run.fromBytes);
    }
    return made;
  }

  #map({ sizeBytes, endBytes }: CompressedInode, kind: Map['kind']): Map {
    const { blockBits, hasHeaders } = this.#facts;
    const at = Math.ceil(endBytes / 8) * 8;
    const header = kind === 'full' && !hasHeaders ? Buffer.alloc(HEADER_BYTES) : this.#source.read(at, HEADER_BYTES);
    const advice = header.readUInt16LE(4);
    const bits = header[7] ?? 0;
    if ((advice & (ADVICE.interlaced | ADVICE.fragment)) !== 0 || (bits & 0x80) !== 0)
      throw new Unreadable('it is kept among fragments');
    if (header[6] !== 0) throw new Unreadable('it is compressed otherwise than with LZ4');
    const clusterBits = blockBits + (bits & 7);
    if (clusterBits > 14 && kind === 'compact') throw new RangeError('clusters of an impossible size');
    const indexAt = at + (kind === 'full' ? 2 * HEADER_BYTES : HEADER_BYTES);
    const tailBytes = (advice & ADVICE.tailInInode) === 0 ? 0 : header.readUInt16LE(2);
    return { kind, advice, clusterBits, clusters: Math.ceil(sizeBytes / 2 ** clusterBits), indexAt, tailBytes };
  }

  #runs(map: Map, wanted: number): Run[] {
    const clusterBytes = 2 ** map.clusterBits;
    const runs: Run[] = [];
    for (let index = 0; index * clusterBytes < wanted; index += 1) {
      const head = this.#cluster(map, index);
      if (head.type === TYPE.inside) continue;
      if (head.offset >= clusterBytes) throw new RangeError('a run begins outside of its cluster');
      const fromBytes = index * clusterBytes + head.offset;
      if (fromBytes < wanted) runs.push({ fromBytes, head, index });
    }
    return runs;
  }

  /** Where the last run lies when its bytes stand behind the index, and at which cluster it begins. */
  #tail(map: Map, sizeBytes: number): { readonly at: number; readonly head: number } {
    let index = map.clusters - 1;
    const last = this.#cluster(map, index);
    // A head at the file's end is the mark of the end, and no run.
    const isMark = last.type !== TYPE.inside && index * 2 ** map.clusterBits + last.offset >= sizeBytes;
    let back = isMark ? 1 : last.back;
    for (let hops = 0; back > 0; hops += 1) {
      if (hops > HOPS_AT_MOST) throw new RangeError('the last run has no head');
      index -= back;
      const cluster = this.#cluster(map, index);
      if (cluster.type === TYPE.inside && cluster.back < 1) throw new RangeError('the last run has no head');
      back = cluster.back;
    }
    return { at: last.behind, head: index };
  }

  #packed(map: Map, { head, index }: Run): Buffer {
    const blockBytes = 2 ** this.#facts.blockBits;
    const mayBeLong = head.type === TYPE.head ? ADVICE.bigRuns : ADVICE.bigRuns2;
    let runBytes = 2 ** map.clusterBits;
    if ((map.advice & mayBeLong) !== 0) {
      const next = index + 1 < map.clusters ? this.#cluster(map, index + 1) : undefined;
      runBytes = (next?.runBlocks ?? 1) * blockBytes;
    }
    if (runBytes > RUN_CAP_BYTES) throw new RangeError('a run is too long');
    const at = head.block * blockBytes;
    // The last block of an image may be cut.
    return this.#source.read(at, Math.min(runBytes, Math.max(0, this.#source.sizeBytes - at)));
  }

  #unpacked(packed: Buffer, type: number, wanted: number): Buffer {
    if (type === TYPE.plain) {
      if (packed.length < wanted) throw new RangeError('a run is too short');
      return packed.subarray(0, wanted);
    }
    if (type === TYPE.head2) throw new Unreadable('it is compressed with a second compressor');
    const zeros = this.#facts.leadingZeros ? packed.findIndex((byte) => byte !== 0) : 0;
    if (zeros < 0) throw new RangeError('a run is empty');
    return decodeLz4Block(packed.subarray(zeros), wanted);
  }

  #cluster(map: Map, index: number): Cluster {
    if (index < 0 || index >= map.clusters) throw new RangeError('a cluster that is not there');
    return map.kind === 'full' ? this.#fullEntry(map, index) : this.#compactEntry(map, index);
  }

  #fullEntry({ indexAt }: Map, index: number): Cluster {
    const at = indexAt + 8 * index;
    const entry = this.#source.read(at, 8);
    const type = entry.readUInt16LE(0) & 3;
    const number = entry.readUInt16LE(4);
    const counts = type === TYPE.inside && (number & IS_BLOCK_COUNT) !== 0;
    return {
      type,
      offset: entry.readUInt16LE(2),
      block: entry.readUInt32LE(4),
      back: type !== TYPE.inside ? 0 : counts ? 1 : number,
      runBlocks: counts ? number & ~IS_BLOCK_COUNT : undefined,
      behind: at + 8,
    };
  }

  /** Entries stand in packs: of two in 8 bytes, and where they are aligned, of sixteen in 32. A pack ends with a block. */
  #compactEntry(map: Map, index: number): Cluster {
    const { at, packBytes, count } = packOf(map, index);
    const start = Math.floor(at / packBytes) * packBytes;
    const pack = this.#source.read(start, packBytes);
    const numberBits = Math.max(map.clusterBits, 12);
    const entryBits = ((packBytes - 4) * 8) / count;
    const entry = (place: number): { type: number; number: number } => {
      const bit = entryBits * place;
      const word = pack.readUIntLE(bit >> 3, Math.min(4, packBytes - (bit >> 3))) / 2 ** (bit & 7);
      return { number: Math.floor(word) % 2 ** numberBits, type: Math.floor(word / 2 ** numberBits) & 3 };
    };
    const place = ((at - start) * count) / packBytes;
    const { type, number } = entry(place);
    const behind = start + packBytes;
    if (type === TYPE.inside) {
      const counts = (number & IS_BLOCK_COUNT) !== 0;
      const runBlocks = counts ? number & ~IS_BLOCK_COUNT : undefined;
      const back = counts ? 1 : place + 1 === count ? backOfLast(entry(place - 1)) : number;
      return { type, offset: 0, block: 0, back, runBlocks, behind };
    }
    const before = (map.advice & ADVICE.bigRuns) === 0 ? runsBefore(entry, place) : blocksBefore(entry, place);
    const block = pack.readUInt32LE(packBytes - 4) + before;
    return { type, offset: number, block, back: 0, runBlocks: undefined, behind };
  }
}

function packOf({ advice, clusters, indexAt }: Map, index: number) {
  const pair = { packBytes: 8, count: 2 } as const;
  const first = ((32 - (indexAt % 32)) % 32) / 4;
  const usesLong = (advice & ADVICE.pairs) !== 0 && first < clusters;
  const long = usesLong ? Math.floor((clusters - first) / 16) * 16 : 0;
  if (index < first) return { at: indexAt + 4 * index, ...pair };
  if (index < first + long) return { at: indexAt + 4 * first + 2 * (index - first), packBytes: 32, count: 16 };
  return { at: indexAt + 4 * first + 2 * long + 4 * (index - first - long), ...pair };
}

/** The last entry of a pack looks forward; how far its head lies back, the one before it tells. */
function backOfLast({ type, number }: { readonly type: number; readonly number: number }): number {
  if (type !== TYPE.inside) return 1;
  return (number & IS_BLOCK_COUNT) === 0 ? number + 1 : 2;
}

type EntryAt = (place: number) => { readonly type: number; readonly number: number };

/** Blocks of the pack before an entry, where each run has one. */
function runsBefore(entry: EntryAt, place: number): number {
  let blocks = 1;
  for (let at = place; at > 0; ) {
    at -= 1;
    const { type, number } = entry(at);
    if (type === TYPE.inside) at -= number;
    if (at >= 0) blocks += 1;
  }
  return blocks;
}

/** The same where runs say how many blocks they have. */
function blocksBefore(entry: EntryAt, place: number): number {
  let blocks = 0;
  for (let at = place; at > 0; ) {
    at -= 1;
    const { type, number } = entry(at);
    if (type !== TYPE.inside) blocks += 1;
    else if ((number & IS_BLOCK_COUNT) !== 0) {
      at -= 1;
      blocks += number & ~IS_BLOCK_COUNT;
    } else {
      if (number <= 1) throw new RangeError('a run has no length');
      at -= number - 2;
    }
  }
  return blocks;
}
