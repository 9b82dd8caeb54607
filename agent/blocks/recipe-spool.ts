/**
 * A recipe as it is fetched: from its start, some hundreds of KiB at a time, into a file on the data partition, so that
 * neither a cut nor a restart fetches it twice. Where there is no room for it, or the file gives trouble, each pack is
 * fetched when it is needed and kept nowhere.
 *
 * Invariants: the file is a hint. It is not synced, and what a power cut makes of it is as little trusted as the server.
 * May not: fail an update.
 */
import type { RecipeReader } from '../../delta/decode/decoder.ts';
import type { Disk, DiskFile } from '../../platform/disk.ts';
import { systemErrorCode } from '../../platform/fault.ts';
import { type RangeMemory, SourceUnreachable, type TransportAnswer } from '../core/ports.ts';

/** One request asks for so much, unless the recipe ends before. */
export const SPOOL_CHUNK_BYTES = 512 * 1024;
/** The first one is short: only its answer says how long the recipe is, and with that where it may be kept. */
export const SPOOL_HEAD_BYTES = 4096;
/** A larger recipe is not kept. */
const SPOOL_CAP_BYTES = 128 * 1024 * 1024;
/** What a spool leaves free for everybody else on the data partition. */
const LEFT_FREE_BYTES = 16 * 1024 * 1024;
const ENDING = '.recipe';

export type ReadRecipe = (offset: number, into: RangeMemory) => Promise<TransportAnswer>;

export interface SpoolPlace {
  readonly disk: Disk;
  readonly directory: string;
  /** Of these two images; nothing else lies under this name. */
  readonly name: string;
}

export class RecipeSpool implements RecipeReader {
  readonly totalBytes: number;
  /** Some of it was fetched before this process began, or before the last cut of power. */
  readonly isResumed: boolean;
  /** Why the last read failed. */
  failure: unknown;
  readonly #read: ReadRecipe;
  readonly #place: SpoolPlace;
  #file: DiskFile | undefined;
  #keptBytes: number;
  /** Without a file, at least what came first is not fetched again: header, index, a small recipe whole. */
  #head = new Uint8Array(0);
  #chunk = new Uint8Array(0);
  /** What came of a range that is kept nowhere. */
  #part: { readonly position: number; readonly into: RangeMemory } | undefined;

  private constructor(
    read: ReadRecipe,
    place: SpoolPlace,
    totalBytes: number,
    file: DiskFile | undefined,
    kept: number,
  ) {
    this.#read = read;
    this.#place = place;
    this.totalBytes = totalBytes;
    this.#file = file;
    this.#keptBytes = kept;
    this.isResumed = kept > 0;
  }

  /** Asks for the recipe's first bytes, or takes up what lies there. `maxBytes`: a longer one is not worth having. */
  static async open(
    read: ReadRecipe,
    place: SpoolPlace,
    maxBytes: number,
  ): Promise<RecipeSpool | Exclude<TransportAnswer, { found: 'bytes' }>> {
    const kept = await takeUp(place);
    if (kept !== undefined) return new RecipeSpool(read, place, kept.totalBytes, kept.file, kept.sizeBytes);
    const into = { bytes: new Uint8Array(Math.min(SPOOL_HEAD_BYTES, maxBytes)), received: 0 };
    const answer = await read(0, into);
    if (answer.found !== 'bytes') return answer;
    const { totalBytes } = answer;
    if (totalBytes > maxBytes) return { found: 'nothing', why: 'recipe-too-long' };
    const file = await makeFile(place, totalBytes);
    const spool = new RecipeSpool(read, place, totalBytes, file, 0);
    const head = new Uint8Array(into.bytes.buffer, 0, into.received);
    if (file === undefined) spool.#head = head;
    else await spool.#keep(head);
    return spool;
  }

  /** Rejects when the bytes do not come; `failure` says why. */
  async read(length: number, position: number): Promise<Uint8Array> {
    try {
      if (position + length <= this.#head.length) return this.#head.slice(position, position + length);
      if (this.#file !== undefined && position <= this.#keptBytes) {
        await this.#fetchUpTo(position + length);
        const bytes = await this.#readKept(length, position);
        if (bytes !== undefined) return bytes;
      }
      return await this.#fetchAlone(length, position);
    } catch (error) {
      this.failure = error;
      throw error;
    }
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    this.#chunk = new Uint8Array(0);
    await file?.close();
  }

  /** What lies there is wrong: it is not taken up again. */
  async discard(): Promise<void> {
    await this.close();
    await orWithout(this.#place.disk.remove(pathOf(this.#place, this.totalBytes)));
  }

  async #fetchUpTo(end: number): Promise<void> {
    while (this.#file !== undefined && this.#keptBytes < end) {
      if (this.#chunk.length === 0) this.#chunk = new Uint8Array(SPOOL_CHUNK_BYTES);
      const bytes = this.#chunk.subarray(0, Math.min(SPOOL_CHUNK_BYTES, this.totalBytes - this.#keptBytes));
      const into: RangeMemory = { bytes, received: 0 };
      try {
        await this.#fetch(this.#keptBytes, into);
      } finally {
        await this.#keep(bytes.subarray(0, into.received));
      }
      if (this.#keptBytes >= this.totalBytes) this.#chunk = new Uint8Array(0);
    }
  }

  async #fetch(position: number, into: RangeMemory): Promise<void> {
    const answer = await this.#read(position, into);
    if (answer.found !== 'bytes') throw new Error(answer.why);
    if (answer.totalBytes !== this.totalBytes) throw new Error('the recipe is another one now');
    if (into.received !== into.bytes.length) throw new Error('the recipe is short');
  }

  async #fetchAlone(length: number, position: number): Promise<Uint8Array> {
    const same = this.#part?.position === position && this.#part.into.bytes.length === length;
    const into = (same ? this.#part?.into : undefined) ?? { bytes: new Uint8Array(length), received: 0 };
    this.#part = { position, into };
    const rest: RangeMemory = { bytes: into.bytes.subarray(into.received), received: 0 };
    try {
      if (rest.bytes.length > 0) await this.#fetch(position + into.received, rest);
    } finally {
      into.received += rest.received;
    }
    this.#part = undefined;
    return into.bytes;
  }

  async #keep(bytes: Uint8Array): Promise<void> {
    if (this.#file === undefined || bytes.length === 0) return;
    const written = await orWithout(this.#file.write(bytes, this.#keptBytes).then(() => true));
    this.#keptBytes += bytes.length;
    if (written !== true) await this.discard();
  }

  async #readKept(length: number, position: number): Promise<Uint8Array | undefined> {
    const bytes = await orWithout(this.#file?.read(length, position) ?? Promise.resolve(undefined));
    if (bytes?.length === length) return bytes;
    await this.discard();
    return undefined;
  }
}

/** Removes every spool, those of images that nobody asks for any more too. */
export async function removeSpools(disk: Disk, directory: string): Promise<void> {
  for (const name of (await orWithout(disk.list(directory))) ?? [])
    await orWithout(disk.remove(`${directory}/${name}`));
}

async function takeUp(
  place: SpoolPlace,
): Promise<{ file: DiskFile; totalBytes: number; sizeBytes: number } | undefined> {
  const start = `${place.name}-`;
  for (const name of (await orWithout(place.disk.list(place.directory))) ?? []) {
    const totalBytes = Number(name.startsWith(start) ? name.slice(start.length, -ENDING.length) : Number.NaN);
    if (!Number.isSafeInteger(totalBytes)) continue;
    const file = await orWithout(place.disk.open(`${place.directory}/${name}`, 'update'));
    const sizeBytes = (await orWithout(file?.sizeBytes() ?? Promise.resolve(0))) ?? 0;
    if (file !== undefined && sizeBytes > 0 && sizeBytes <= totalBytes) return { file, totalBytes, sizeBytes };
    await file?.close();
    await orWithout(place.disk.remove(`${place.directory}/${name}`));
  }
  return undefined;
}

async function makeFile(place: SpoolPlace, totalBytes: number): Promise<DiskFile | undefined> {
  const { disk, directory } = place;
  if (totalBytes > SPOOL_CAP_BYTES) return undefined;
  return orWithout(
    (async () => {
      await disk.makeDirectory(directory);
      const freeBytes = (await disk.freeBytes?.(directory)) ?? Number.POSITIVE_INFINITY;
      return freeBytes < totalBytes + LEFT_FREE_BYTES ? undefined : disk.open(pathOf(place, totalBytes), 'create');
    })(),
  );
}

function pathOf({ directory, name }: SpoolPlace, totalBytes: number): string {
  return `${directory}/${name}-${totalBytes}${ENDING}`;
}

/** A disk that is full or broken costs the spool, not the update. Bugs surface. */
async function orWithout<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof SourceUnreachable || systemErrorCode(error) === undefined) throw error;
    return undefined;
  }
}
