/** What no file system accounts for: long equal runs anywhere, or likeness around the place where the first points. */
import { PIECE_BYTES } from '../format.ts';
import type { ImageFile, ImageRange } from './image-file.ts';
import { type MatchSink, matchNew, SeedIndex } from './matcher.ts';
import { MISSING, PartCollector, type Plan, type PlanSettings } from './parts.ts';
import { matchAnywhere, WideIndex } from './wide-matcher.ts';

const READ_BYTES = 1024 * 1024;
/** How far around its likely place unknown data is compared. */
const AROUND_BYTES = 256 * 1024;

export function planUnknown(oldImage: ImageFile, newImage: ImageFile, plan: Plan, settings: PlanSettings): void {
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
