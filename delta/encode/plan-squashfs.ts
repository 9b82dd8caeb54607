/**
 * Two squashfs file systems. A block whose stored bytes are somewhere in the old image is moved from there, whatever its
 * offset. Where both are zlib's, a changed block is made of old ones: those of the same file around the same place, the
 * fragments with the same files, the blocks of the same table around the same place. The rest is told.
 */
import { hash } from 'node:crypto';
import { PIECE_BYTES } from '../format.ts';
import type { ImageFile } from './image-file.ts';
import { OldFiles } from './pairing.ts';
import { MISSING, type Owner, type Part, type Plan, type PlanSettings, type StoredStream } from './parts.ts';
import { planStream } from './plan-streams.ts';
import { PuffedStreams } from './puffed-source.ts';
import type { Squashfs, SquashfsBlock, SquashfsFile } from './squashfs.ts';

/** Old blocks on either side of the likeliest one that are looked at. */
const AROUND = 1;
const FRAGMENTS = 3;
/** zlib's header. */
const ZLIB_BYTES = 2;

interface Segment {
  readonly offset: number;
  readonly parts: readonly Part[];
  readonly owner: Owner;
}

export class SquashfsPlanner {
  readonly #newImage: ImageFile;
  readonly #oldImage: ImageFile;
  readonly #oldTree: Squashfs;
  readonly #newTree: Squashfs;
  readonly #plan: Plan;
  readonly #settings: PlanSettings;
  readonly #oldFiles: OldFiles<SquashfsFile>;
  readonly #oldStreams: PuffedStreams;
  readonly #newStreams: PuffedStreams;
  /** Where in the old image blocks of this content are. */
  readonly #stored = new Map<string, number>();
  /** By offset. */
  readonly #segments = new Map<number, Segment>();

  constructor(
    oldImage: ImageFile,
    newImage: ImageFile,
    oldTree: Squashfs,
    newTree: Squashfs,
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
    this.#oldStreams = new PuffedStreams(oldImage);
    this.#newStreams = new PuffedStreams(newImage);
  }

  run(): void {
    for (const block of blocksOf(this.#oldTree)) this.#stored.set(digestOf(this.#oldImage, block), block.offset);
    const { files, fragments, tables } = this.#newTree;
    for (const [number, file] of files.entries()) {
      this.#file(file);
      this.#settings.onProgress('files', number + 1, files.length);
    }
    const members = membersOf(this.#newTree);
    for (const [number, fragment] of fragments.entries()) {
      this.#block(fragment, 'file', () => this.#oldFragments(members.get(number) ?? []));
      this.#settings.onProgress('fragments', number + 1, fragments.length);
    }
    for (const [number, blocks] of tables.entries()) {
      const old = this.#oldTree.tables[number] ?? [];
      for (const [place, block] of blocks.entries()) {
        this.#block(block, 'structure', () => around(old, place, blocks.length));
      }
    }
    this.#tell();
  }

  #file(file: SquashfsFile): void {
    let candidates: readonly SquashfsFile[] | undefined;
    for (const [place, block] of file.blocks.entries()) {
      this.#block(block, 'file', () => {
        candidates ??= this.#oldFiles.candidates(file, 2);
        return candidates.flatMap((old) => [
          ...around(old.blocks, place, file.blocks.length),
          ...this.#oldTree.fragments.slice(old.fragment, (old.fragment ?? -1) + 1),
        ]);
      });
    }
  }

  /** The old fragments with most of these files' old versions. */
  #oldFragments(files: readonly SquashfsFile[]): SquashfsBlock[] {
    const votes = new Map<number, number>();
    for (const file of files) {
      for (const old of this.#oldFiles.candidates(file, 1)) {
        if (old.fragment !== undefined) votes.set(old.fragment, (votes.get(old.fragment) ?? 0) + old.sizeBytes);
      }
    }
    const best = [...votes].sort((a, b) => b[1] - a[1]).slice(0, FRAGMENTS);
    return best.flatMap(([number]) => this.#oldTree.fragments.slice(number, number + 1));
  }

  #block(block: SquashfsBlock, owner: Owner, candidates: () => readonly SquashfsBlock[]): void {
    const { offset, length } = block;
    // Files of one content share their blocks.
    if (length === 0 || this.#segments.has(offset)) return;
    const same = this.#stored.get(digestOf(this.#newImage, block));
    const stream = same === undefined ? this.#stream(block, candidates) : undefined;
    const part = { length, source: same ?? (stream === undefined ? -1 : 0), stream };
    this.#segments.set(offset, { offset, parts: [part], owner });
  }

  #stream(block: SquashfsBlock, candidates: () => readonly SquashfsBlock[]) {
    if (!this.#newTree.deflated || !this.#oldTree.deflated || !block.compressed) return undefined;
    const streams = candidates().filter(({ compressed, length }) => compressed && length > 0);
    return planStream(streamOf(block), this.#newStreams, streams.map(streamOf), this.#oldStreams);
  }

  /** Segments in order, what lies between them told, up to the last whole piece that they touch. */
  #tell(): void {
    const segments = [...this.#segments.values()].sort((a, b) => a.offset - b.offset);
    const pieces = new PieceParts(this.#plan);
    for (const { offset, parts, owner } of segments) {
      // Blocks that overlap are no file system's; whoever comes second is told.
      if (offset < pieces.at) continue;
      pieces.put({ length: offset - pieces.at, source: -1 }, 'structure');
      for (const part of parts) pieces.put(part, owner);
    }
    const end = Math.min(this.#newImage.sizeBytes, Math.ceil(pieces.at / PIECE_BYTES) * PIECE_BYTES);
    pieces.put({ length: end - pieces.at, source: -1 }, 'structure');
  }
}

/** Cuts parts of any length, in order from the image's start, at the edges of pieces. */
class PieceParts {
  readonly #plan: Plan;
  at = 0;

  constructor(plan: Plan) {
    this.#plan = plan;
  }

  put({ length, source, stream }: Part, owner: Owner): void {
    for (let done = 0; done < length; ) {
      const piece = Math.floor(this.at / PIECE_BYTES);
      const taken = Math.min(length - done, PIECE_BYTES - (this.at % PIECE_BYTES));
      const part = { length: taken, source: source < 0 ? -1 : source + done, stream };
      const parts = this.#plan.parts.get(piece);
      if (parts === undefined) this.#plan.parts.set(piece, [part]);
      else parts.push(part);
      this.#plan.sources[piece] = MISSING;
      this.#plan.owners.set(piece, owner);
      this.at += taken;
      done += taken;
    }
  }
}

function* blocksOf({ files, fragments, tables }: Squashfs): Generator<SquashfsBlock> {
  for (const { blocks } of files) yield* blocks;
  yield* fragments;
  for (const blocks of tables) yield* blocks;
}

function membersOf({ files }: Squashfs): Map<number, SquashfsFile[]> {
  const members = new Map<number, SquashfsFile[]>();
  for (const file of files) {
    if (file.fragment === undefined) continue;
    const list = members.get(file.fragment);
    if (list === undefined) members.set(file.fragment, [file]);
    else list.push(file);
  }
  return members;
}

/** The old blocks around the place that `place` of `count` has among them; the likeliest first. */
function around(old: readonly SquashfsBlock[], place: number, count: number): SquashfsBlock[] {
  const shifted = old.length - count;
  const centre = Math.min(old.length - 1, Math.round(place + (shifted * place) / Math.max(1, count)));
  return old.slice(Math.max(0, centre - AROUND), centre + AROUND + 1);
}

function streamOf({ offset, length, headBytes }: SquashfsBlock): StoredStream {
  return { offset, length, prefixBytes: headBytes + ZLIB_BYTES };
}

function digestOf(image: ImageFile, { offset, length }: SquashfsBlock): string {
  return hash('sha256', image.read(offset, length), 'base64');
}
