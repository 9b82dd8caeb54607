/**
 * A recipe that makes one image from another, proven by making it: what does not come out byte for byte is not given out.
 *
 * Memory follows `memoryBytes`, not the images. CPU is a minute or so for each 100 MB that changed: not for a request.
 */
import { closeSync, openSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';
import { type BlockMap, BlockMapBuilder } from '../../trust/blocks.ts';
import { Sha256 } from '../../trust/crypto.ts';
import { DeltaDecoder, readRecipeIndex } from '../decode/decoder.ts';
import { encodeRecipeIndex, type PackEntry } from '../format.ts';
import { ImageFile } from './image-file.ts';
import { planDelta } from './plan.ts';
import { type Profile, RecipeWriter } from './recipe-writer.ts';

export interface DeltaRequest {
  readonly oldPath: string;
  readonly newPath: string;
  readonly outPath: string;
  /** What the encoder may take beyond Node itself, about. Default 768 MiB. */
  readonly memoryBytes?: number;
  readonly packPlainBytes?: number;
  readonly onProgress?: (step: string, done: number, total: number) => void;
}

export interface DeltaResult {
  readonly sizeBytes: number;
  readonly oldSizeBytes: number;
  readonly newSizeBytes: number;
  readonly packs: number;
  readonly profile: Profile;
}

const CHUNK_BYTES = 1024 * 1024;
const DEFAULT_MEMORY_BYTES = 768 * 1024 * 1024;
/** What comparing takes for each byte of the old data. */
const MEMORY_PER_SOURCE_BYTE = 8;

/** Writes the recipe to `outPath`, whole or not at all. Throws system errors of the files. */
export async function encodeDelta(request: DeltaRequest): Promise<DeltaResult> {
  const onProgress = request.onProgress ?? (() => {});
  const oldImage = new ImageFile(request.oldPath);
  const newImage = new ImageFile(request.newPath);
  const partPath = `${request.outPath}.part`;
  const body = openSync(`${partPath}.packs`, 'w+', 0o600);
  try {
    const memoryBytes = request.memoryBytes ?? DEFAULT_MEMORY_BYTES;
    const sourceBytesAtMost = Math.floor(memoryBytes / MEMORY_PER_SOURCE_BYTE);
    const plan = planDelta(oldImage, newImage, { sourceBytesAtMost, onProgress });
    const writer = new RecipeWriter(oldImage, newImage, plan, request.packPlainBytes);
    const blocks = new BlockMapBuilder();
    const entries: PackEntry[] = [];
    let done = 0;
    for await (const pack of writer.packs((bytes) => void blocks.update(bytes))) {
      entries.push(pack.entry);
      for (const stream of pack.streams) writeSync(body, stream);
      done += pack.entry.blockCount;
      onProgress('packing', done, Math.ceil(newImage.sizeBytes / 2 ** 20));
    }
    const { map, sha256: newSha256 } = blocks.finish();
    const header = {
      oldSizeBytes: oldImage.sizeBytes,
      newSizeBytes: newImage.sizeBytes,
      oldSha256: digestOfFile(oldImage),
      newSha256: Buffer.from(newSha256, 'hex'),
      packCount: entries.length,
    };
    const out = openSync(partPath, 'w', 0o644);
    let sizeBytes = 0;
    try {
      const index = encodeRecipeIndex(header, entries);
      sizeBytes = writeSync(out, index);
      sizeBytes += append(out, body);
    } finally {
      closeSync(out);
    }
    await proveRecipe(partPath, sizeBytes, oldImage, map, onProgress);
    renameSync(partPath, request.outPath);
    return {
      sizeBytes,
      oldSizeBytes: oldImage.sizeBytes,
      newSizeBytes: newImage.sizeBytes,
      packs: entries.length,
      profile: writer.profile,
    };
  } finally {
    closeSync(body);
    rmSync(`${partPath}.packs`, { force: true });
    rmSync(partPath, { force: true });
    oldImage.close();
    newImage.close();
  }
}

function digestOfFile(image: ImageFile): Uint8Array {
  const whole = new Sha256();
  for (let at = 0; at < image.sizeBytes; at += CHUNK_BYTES) {
    whole.update(image.read(at, Math.min(CHUNK_BYTES, image.sizeBytes - at)));
  }
  return whole.digest();
}

function append(out: number, body: number): number {
  const chunk = new Uint8Array(CHUNK_BYTES);
  let at = 0;
  for (;;) {
    const got = readSync(body, chunk, 0, chunk.length, at);
    if (got === 0) return at;
    for (let done = 0; done < got; ) done += writeSync(out, chunk, done, got - done);
    at += got;
  }
}

/** Throws Error where the recipe does not make the image: a bug here, or an image that changed meanwhile. */
async function proveRecipe(
  path: string,
  sizeBytes: number,
  oldImage: ImageFile,
  map: BlockMap,
  onProgress: (step: string, done: number, total: number) => void,
): Promise<void> {
  const recipe = new ImageFile(path);
  try {
    const reader = { read: async (length: number, position: number) => recipe.read(position, length) };
    const index = await readRecipeIndex(reader, sizeBytes);
    if (!index.ok) throw new Error(`the recipe is not well-formed: ${index.detail}`);
    const old = {
      read: async (length: number, at: number) => oldImage.read(at, Math.min(length, oldImage.sizeBytes - at)),
    };
    const decoder = new DeltaDecoder({ index: index.value, recipe: reader, old, map });
    const block = new Uint8Array(map.blockBytes);
    for (let number = 0; number < map.count; number += 1) {
      const outcome = await decoder.produce(number, block);
      if (!outcome.made) throw new Error(`block ${number} does not come out: ${outcome.why}, ${outcome.detail}`);
      onProgress('proving', number + 1, map.count);
    }
  } finally {
    recipe.close();
  }
}
