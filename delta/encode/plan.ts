/**
 * What every 4 KiB piece of the new image is made of. First by content, wherever it lies in the old image; the rest by
 * what the file system says it is; and where no file system is known, long equal runs anywhere.
 */
import { PIECE_BYTES } from '../format.ts';
import { readExt4 } from './ext4.ts';
import type { ImageFile } from './image-file.ts';
import { MISSING, type Plan, type PlanSettings, ZERO } from './parts.ts';
import { digestOf, PieceTable } from './piece-table.ts';
import { TreePlanner } from './plan-ext4.ts';
import { SquashfsPlanner } from './plan-squashfs.ts';
import { planUnknown } from './plan-unknown.ts';
import { readSquashfs } from './squashfs.ts';

const READ_BYTES = 1024 * 1024;

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
  const oldSquashfs = readSquashfs(oldImage);
  const newSquashfs = oldSquashfs && readSquashfs(newImage);
  if (oldSquashfs !== undefined && newSquashfs !== undefined) {
    new SquashfsPlanner(oldImage, newImage, oldSquashfs, newSquashfs, plan, settings).run();
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
