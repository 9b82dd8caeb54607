/**
 * Looks for secrets, in every form (forms.ts), in raw bytes: a file, a folder with all below it, a whole disk with its free
 * blocks and journals. Reads only, a few MiB at a time.
 */
import { open, readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { formsOf, type Secret } from './forms.ts';

const CHUNK_BYTES = 4 * 1024 * 1024;
/** Most of a disk. */
const NOTHING = Buffer.alloc(2 * CHUNK_BYTES);

export interface Hit {
  /** Of the secret. */
  readonly name: string;
  readonly form: string;
  readonly offsetBytes: number;
}

interface Needle {
  readonly name: string;
  readonly form: string;
  readonly bytes: Buffer;
}

/** For many files and the same secrets. */
export class ByteScan {
  readonly #needles: readonly Needle[];
  /** One byte less than the longest: what a chunk must share with the next. */
  readonly #overlapBytes: number;

  constructor(secrets: readonly Secret[]) {
    if (secrets.length === 0) throw new RangeError('nothing is looked for');
    this.#needles = secrets.flatMap((secret) => formsOf(secret).map((form) => ({ name: secret.name, ...form })));
    this.#overlapBytes = Math.max(...this.#needles.map(({ bytes }) => bytes.length)) - 1;
  }

  /** Every place, by offset. */
  async file(path: string): Promise<readonly Hit[]> {
    const hits: Hit[] = [];
    const handle = await open(path, 'r');
    try {
      const buffer = Buffer.alloc(this.#overlapBytes + CHUNK_BYTES);
      let kept = 0;
      let at = 0;
      for (;;) {
        const { bytesRead } = await handle.read(buffer, kept, CHUNK_BYTES, at + kept);
        if (bytesRead === 0) break;
        const filled = buffer.subarray(0, kept + bytesRead);
        hits.push(...this.#chunk(filled, at, kept));
        const carried = Math.min(this.#overlapBytes, filled.length);
        filled.copyWithin(0, filled.length - carried);
        at += filled.length - carried;
        kept = carried;
      }
    } finally {
      await handle.close();
    }
    return hits.sort((a, b) => a.offsetBytes - b.offsetBytes);
  }

  /** By path in the folder, only files with hits. Links are not followed; what vanishes meanwhile is not there. */
  async folder(folder: string): Promise<ReadonlyMap<string, readonly Hit[]>> {
    const found = new Map<string, readonly Hit[]>();
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    for (const entry of entries) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      const hits = await this.file(path).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return [];
        throw error;
      });
      if (hits.length > 0) found.set(relative(folder, path), hits);
    }
    return found;
  }

  /** Hits that end within `kept` bytes were told with the chunk before. */
  #chunk(bytes: Buffer, at: number, kept: number): Hit[] {
    const hits: Hit[] = [];
    if (bytes.equals(NOTHING.subarray(0, bytes.length))) return hits;
    for (const { name, form, bytes: needle } of this.#needles) {
      for (let found = bytes.indexOf(needle); found >= 0; found = bytes.indexOf(needle, found + 1)) {
        if (found + needle.length > kept) hits.push({ name, form, offsetBytes: at + found });
      }
    }
    return hits;
  }
}
