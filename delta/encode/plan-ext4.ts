/**
 * Two ext4 file systems: inodes against the inode of the same path, files and directories against their old version,
 * bitmaps and descriptors against the old ones.
 */
import { PIECE_BYTES } from '../format.ts';
import type { Ext4, Ext4File } from './ext4.ts';
import type { ImageFile, ImageRange } from './image-file.ts';
import { matchNew } from './matcher.ts';
import { OldFiles } from './pairing.ts';
import { MISSING, type Owner, type Part, PartCollector, type Plan, type PlanSettings, Source } from './parts.ts';

const CANDIDATES = 2;

/** A run of missing pieces that follow each other in the image and in their file. */
interface Run {
  readonly firstPiece: number;
  readonly count: number;
  /** In the file, from its start. */
  readonly logicalBytes: number;
}

export class TreePlanner {
  readonly #oldImage: ImageFile;
  readonly #newImage: ImageFile;
  readonly #oldTree: Ext4;
  readonly #newTree: Ext4;
  readonly #plan: Plan;
  readonly #settings: PlanSettings;
  readonly #oldFiles: OldFiles<Ext4File>;

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
