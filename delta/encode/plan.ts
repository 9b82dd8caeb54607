/**
 * What every 4 KiB piece of the new image is made of. First by content, wherever it lies in the old image; the rest by
 * what the file system says it is: inodes against the inode of the same path, files and directories against their old
 * version, bitmaps and descriptors against the old ones; and where no file system is known, long equal runs anywhere.
 */
import { PIECE_BYTES } from '../format.ts';
import { type Ext4, type Ext4File, readExt4 } from './ext4.ts';
import type { ImageFile, ImageRange } from './image-file.ts';
import { type MatchSink, matchNew, SeedIndex } from './matcher.ts';
import { OldFiles } from './pairing.ts';
import { digestOf, PieceTable } from './piece-table.ts';
import { matchAnywhere, WideIndex } from './wide-matcher.ts';

/** A part of a piece: `length` bytes that are nearly those at `source` of the old image; −1: like nothing. */
export interface Part {
  readonly length: number;
  readonly source: number;
}

/** What a piece belongs to, for the profile. */
export const OWNERS = ['file', 'directory', 'inodes', 'structure', 'unknown'] as const;
export type Owner = (typeof OWNERS)[number];

export const ZERO = -1;
export const MISSING = -2;

export interface Plan {
  /** By piece: the old piece with this content, ZERO or MISSING. */
  readonly sources: Int32Array;
  /** For missing pieces: their parts, which add up to the piece. Where there are none, it is literal. */
  readonly parts: Map<number, Part[]>;
  readonly owners: Map<number, Owner>;
}

export interface PlanSettings {
  /** Of old data compared at a time; memory is about six times as much. */
  readonly sourceBytesAtMost: number;
  readonly onProgress: (step: string, done: number, total: number) => void;
}

const READ_BYTES = 1024 * 1024;
const CANDIDATES = 2;
/** How far around its likely place unknown data is compared. */
const AROUND_BYTES = 256 * 1024;

export function planDelta(oldImage: ImageFile, newImage: ImageFile, settings: PlanSettings): Plan {
  const plan: Plan = {
    sources: contentSources(oldImage, newImage, settings),
    parts: new Map(),
    owners: new Map(),
  };
  const oldTree = readExt4(oldImage);
  const newTree = oldTree && readExt4(newImage);
  if (oldTree !== undefined && newTree !== undefined) {
    new TreePlanner(oldImage, newImage, oldTree, newTree, plan, settings).run();
  }
  planUnknown(oldImage, newImage, plan, settings);
  return plan;
}

function contentSources(oldImage: ImageFile, newImage: ImageFile, settings: PlanSettings): Int32Array {
  const total = oldImage.sizeBytes + newImage.sizeBytes;
  let done = 0;
  const onRead = (bytes: number): void => {
    done += bytes;
    settings.onProgress('content', done, total);
  };
  const table = new PieceTable(oldImage, onRead);
  const zero = digestOf(new Uint8Array(PIECE_BYTES));
  const count = Math.ceil(newImage.sizeBytes / PIECE_BYTES);
  const sources = new Int32Array(count).fill(MISSING);
  let previous = -1;
  for (let at = 0; at < newImage.sizeBytes; at += READ_BYTES) {
    const bytes = newImage.read(at, Math.min(READ_BYTES, newImage.sizeBytes - at));
    // A last piece that is no whole one stays missing.
    for (let start = 0; start + PIECE_BYTES <= bytes.length; start += PIECE_BYTES) {
      const number = (at + start) / PIECE_BYTES;
      const digest = digestOf(bytes.subarray(start, start + PIECE_BYTES));
      if (digest.every((word, place) => word === zero[place])) {
        sources[number] = ZERO;
        continue;
      }
      const source = table.find(digest, previous >= 0 ? previous + 1 : number);
      if (source >= 0) sources[number] = source;
      previous = source;
    }
    onRead(bytes.length);
  }
  return sources;
}

/** A run of missing pieces that follow each other in the image and in their file. */
interface Run {
  readonly firstPiece: number;
  readonly count: number;
  /** In the file, from its start. */
  readonly logicalBytes: number;
}

class TreePlanner {
  readonly #oldImage: ImageFile;
  readonly #newImage: ImageFile;
  readonly #oldTree: Ext4;
  readonly #newTree: Ext4;
  readonly #plan: Plan;
  readonly #settings: PlanSettings;
  readonly #oldFiles: OldFiles;

  constructor(
    oldImage: ImageFile,
    newImage: ImageFile,
    oldTree: Ext4,
    newTree: Ext4,
    plan: Plan,
    settings: PlanSettings,
  ) {
    this.#oldImage = oldImage;
    this.#newImage = newImage;
    this.#oldTree = oldTree;
    this.#newTree = newTree;
    this.#plan = plan;
    this.#settings = settings;
    this.#oldFiles = new OldFiles(oldTree.files);
  }

  run(): void {
    this.#inodes();
    this.#structures();
    const files = this.#newTree.files;
    for (const [number, file] of files.entries()) {
      this.#file(file);
      this.#settings.onProgress('files', number + 1, files.length);
    }
  }

  #inodes(): void {
    const { inodeBytes } = this.#newTree;
    if (inodeBytes !== this.#oldTree.inodeBytes || PIECE_BYTES % inodeBytes !== 0) return;
    const pairs = new Map<number, number>();
    for (const file of this.#newTree.files) {
      const old = this.#oldFiles.samePath(file.path) ?? this.#oldFiles.candidates(file, 1)[0];
      const at = this.#newTree.inodeOffset(file.inode);
      const from = old && this.#oldTree.inodeOffset(old.inode);
      if (at !== undefined && from !== undefined) pairs.set(at, from);
    }
    const table = this.#newTree.structures.find((structure) => structure.name === 'inode tables');
    for (const piece of this.#missing(table?.ranges ?? [])) {
      const parts: Part[] = [];
      for (let at = piece * PIECE_BYTES; at < (piece + 1) * PIECE_BYTES; at += inodeBytes) {
        const source = pairs.get(at) ?? (at + inodeBytes <= this.#oldImage.sizeBytes ? at : -1);
        parts.push({ length: inodeBytes, source });
      }
      this.#plan.parts.set(piece, parts);
      this.#plan.owners.set(piece, 'inodes');
    }
  }

  #missing(ranges: readonly ImageRange[]): number[] {
    const found: number[] = [];
    for (const { offset, length } of ranges) {
      for (let piece = offset / PIECE_BYTES; piece < (offset + length) / PIECE_BYTES; piece += 1) {
        if (this.#plan.sources[piece] === MISSING && !this.#plan.parts.has(piece)) found.push(piece);
      }
    }
    return found;
  }

  #structures(): void {
    for (const structure of this.#newTree.structures) {
      const old = this.#oldTree.structures.find((other) => other.name === structure.name);
      if (structure.name === 'inode tables' || old === undefined) continue;
      const runs: Run[] = [];
      let logicalBytes = 0;
      for (const range of structure.ranges) {
        for (const piece of this.#missing([range])) {
          const within = piece * PIECE_BYTES - range.offset;
          runs.push({ firstPiece: piece, count: 1, logicalBytes: logicalBytes + within });
        }
        logicalBytes += range.length;
      }
      this.#match(old.ranges, runs, 'structure');
    }
  }

  #file(file: Ext4File): void {
    const runs = this.#runsOf(file);
    const metadata = file.metadataBlocks.flatMap((block) => this.#missing([rangeOfBlocks(block, 1)]));
    if (runs.length === 0 && metadata.length === 0) return;
    const candidates = this.#oldFiles.candidates(file, CANDIDATES);
    const sources = candidates.flatMap(rangesOf);
    this.#match(sources, runs, file.kind === 'directory' ? 'directory' : 'file');
    const oldMetadata = candidates.flatMap((old) => old.metadataBlocks.map((block) => rangeOfBlocks(block, 1)));
    this.#match(
      oldMetadata,
      metadata.map((piece, place) => ({ firstPiece: piece, count: 1, logicalBytes: place * PIECE_BYTES })),
      'structure',
    );
  }

  #runsOf(file: Ext4File): Run[] {
    const runs: Run[] = [];
    let storedBytes = 0;
    for (const extent of file.extents) {
      let run: { firstPiece: number; count: number; logicalBytes: number } | undefined;
      for (let place = 0; place < extent.count; place += 1) {
        const piece = extent.block + place;
        const wanted = this.#plan.sources[piece] === MISSING && !this.#plan.parts.has(piece);
        if (!wanted) run = undefined;
        else if (run !== undefined) run.count += 1;
        else {
          run = { firstPiece: piece, count: 1, logicalBytes: storedBytes + place * PIECE_BYTES };
          runs.push(run);
        }
      }
      storedBytes += extent.count * PIECE_BYTES;
    }
    return runs;
  }

  #match(sources: readonly ImageRange[], runs: readonly Run[], owner: Owner): void {
    if (runs.length === 0) return;
    const total = sources.reduce((sum, range) => sum + range.length, 0);
    const cap = this.#settings.sourceBytesAtMost;
    const whole = total <= cap ? new Source(this.#oldImage, sources) : undefined;
    for (const run of runs) {
      for (let done = 0; done < run.count; ) {
        const count = Math.min(run.count - done, Math.ceil(cap / 4 / PIECE_BYTES));
        const logicalBytes = run.logicalBytes + done * PIECE_BYTES;
        const start = Math.min(Math.max(0, logicalBytes - cap / 2), Math.max(0, total - cap));
        const source = whole ?? new Source(this.#oldImage, windowOf(sources, start, cap));
        const guess = Math.min(logicalBytes - (whole ? 0 : start), source.index.old.length);
        const firstPiece = run.firstPiece + done;
        const fresh = this.#newImage.read(firstPiece * PIECE_BYTES, count * PIECE_BYTES);
        const parts = new PartCollector(firstPiece, source, this.#plan, owner);
        matchNew(source.index, fresh, guess, parts);
        done += count;
      }
    }
  }
}

/** Old data as one, and where in the image each byte of it is. */
class Source {
  readonly index: SeedIndex;
  readonly #ranges: readonly ImageRange[];
  readonly #starts: number[] = [];

  constructor(image: ImageFile, ranges: readonly ImageRange[]) {
    this.#ranges = ranges;
    let at = 0;
    for (const range of ranges) {
      this.#starts.push(at);
      at += range.length;
    }
    this.index = new SeedIndex(image.gather(ranges));
  }

  /** `length` bytes at `start` of the data, as ranges of the image. */
  *locate(start: number, length: number): Generator<ImageRange> {
    let low = 0;
    let high = this.#ranges.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#starts[middle] ?? 0) <= start) low = middle;
      else high = middle - 1;
    }
    for (let done = 0; done < length; low += 1) {
      const range = this.#ranges[low];
      if (range === undefined) throw new RangeError('beyond the source');
      const within = start + done - (this.#starts[low] ?? 0);
      const taken = Math.min(length - done, range.length - within);
      yield { offset: range.offset + within, length: taken };
      done += taken;
    }
  }
}

/** Cuts what the matcher tells at piece boundaries. */
export class PartCollector {
  readonly #firstPiece: number;
  readonly #source: Pick<Source, 'locate'>;
  readonly #plan: Plan;
  readonly #owner: Owner;

  constructor(firstPiece: number, source: Pick<Source, 'locate'>, plan: Plan, owner: Owner) {
    this.#firstPiece = firstPiece;
    this.#source = source;
    this.#plan = plan;
    this.#owner = owner;
  }

  near(newStart: number, length: number, oldStart: number): void {
    let at = newStart;
    for (const range of this.#source.locate(oldStart, length)) {
      this.#put(at, range.length, range.offset);
      at += range.length;
    }
  }

  fresh(newStart: number, length: number): void {
    this.#put(newStart, length, -1);
  }

  #put(start: number, length: number, source: number): void {
    for (let done = 0; done < length; ) {
      const at = start + done;
      const piece = this.#firstPiece + Math.floor(at / PIECE_BYTES);
      const taken = Math.min(length - done, PIECE_BYTES - (at % PIECE_BYTES));
      const part = { length: taken, source: source < 0 ? -1 : source + done };
      const parts = this.#plan.parts.get(piece);
      if (parts === undefined) this.#plan.parts.set(piece, [part]);
      else parts.push(part);
      this.#plan.owners.set(piece, this.#owner);
      done += taken;
    }
  }
}

/** What no file system accounts for. */
function planUnknown(oldImage: ImageFile, newImage: ImageFile, plan: Plan, settings: PlanSettings): void {
  const left: number[] = [];
  for (const [piece, source] of plan.sources.entries()) {
    if (source === MISSING && !plan.parts.has(piece)) left.push(piece);
  }
  if (left.length === 0) return;
  const index = new WideIndex(oldImage, settings.sourceBytesAtMost);
  for (let at = 0; at < left.length; ) {
    const first = left[at] ?? 0;
    let count = 1;
    while (left[at + count] === first + count && count < READ_BYTES / PIECE_BYTES) count += 1;
    const offset = first * PIECE_BYTES;
    const fresh = newImage.read(offset, Math.min(count * PIECE_BYTES, newImage.sizeBytes - offset));
    const best = bestUnknown(oldImage, index, fresh, offset);
    best.tell(new PartCollector(first, WHOLE_IMAGE, plan, 'unknown'));
    at += count;
    settings.onProgress('unknown', at, left.length);
  }
}

const WHOLE_IMAGE = {
  *locate(offset: number, length: number): Generator<ImageRange> {
    yield { offset, length };
  },
};

/** Equal runs from anywhere, or likeness to the old image around the place where the first of them points. */
function bestUnknown(oldImage: ImageFile, index: WideIndex, fresh: Uint8Array, offset: number): Matches {
  const anywhere = new Matches(0);
  matchAnywhere(index, fresh, anywhere);
  const shift = anywhere.shift ?? offset;
  const from = Math.max(0, Math.min(shift, oldImage.sizeBytes) - AROUND_BYTES);
  const to = Math.min(oldImage.sizeBytes, shift + fresh.length + AROUND_BYTES);
  if (to <= from || anywhere.freshBytes === 0) return anywhere;
  const around = new Matches(from);
  const source = new SeedIndex(oldImage.read(from, to - from));
  matchNew(source, fresh, Math.max(0, Math.min(shift - from, to - from)), around);
  return around.freshBytes < anywhere.freshBytes ? around : anywhere;
}

/** What a matcher told, kept, so that two can be compared. */
class Matches {
  readonly #from: number;
  readonly #list: { start: number; length: number; source: number }[] = [];
  freshBytes = 0;
  /** The old position that the first match gives to the start of the new data. */
  shift: number | undefined;

  constructor(from: number) {
    this.#from = from;
  }

  near(start: number, length: number, source: number): void {
    this.shift ??= Math.max(0, source + this.#from - start);
    this.#list.push({ start, length, source: source + this.#from });
  }

  fresh(start: number, length: number): void {
    this.freshBytes += length;
    this.#list.push({ start, length, source: -1 });
  }

  tell(sink: MatchSink): void {
    for (const { start, length, source } of this.#list) {
      if (source < 0) sink.fresh(start, length);
      else sink.near(start, length, source);
    }
  }
}

function rangeOfBlocks(block: number, count: number): ImageRange {
  return { offset: block * PIECE_BYTES, length: count * PIECE_BYTES };
}

function rangesOf(file: Ext4File): ImageRange[] {
  return file.extents.map(({ block, count }) => rangeOfBlocks(block, count));
}

function windowOf(ranges: readonly ImageRange[], start: number, length: number): ImageRange[] {
  const found: ImageRange[] = [];
  let at = 0;
  for (const range of ranges) {
    const from = Math.max(start, at);
    const to = Math.min(start + length, at + range.length);
    if (from < to) found.push({ offset: range.offset + from - at, length: to - from });
    at += range.length;
  }
  return found;
}
