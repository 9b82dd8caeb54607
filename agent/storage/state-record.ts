/**
 * One small JSON record on the data partition, kept in two checksummed copies, of a strict shape.
 *
 * Invariants: a write that was cut leaves the older record; the first write makes both copies, so that from then on
 * one bad sector never takes the record away.
 * May not: decide what a lost record means; `damaged` is a finding for boot recovery, never an exception, so that a
 * damaged file cannot make a crash loop.
 */
import * as v from 'valibot';
import type { Disk } from '../../platform/disk.ts';
import { copyPath, readTwoCopy, writeTwoCopy } from '../../platform/two-copy-record.ts';

export type RecordReading<T> =
  | { readonly found: 'whole'; readonly value: T; readonly damagedCopies: number }
  /** Never written: no copy, or a first write that was cut. */
  | { readonly found: 'absent' }
  /** Both copies are there and neither checks out, or the content is of a shape this agent does not know. */
  | { readonly found: 'damaged'; readonly detail: string };

export class StateRecord<T> {
  readonly path: string;
  readonly #disk: Disk;
  readonly #schema: v.GenericSchema<unknown, T>;
  readonly #twice: boolean;

  /** `twice`: both copies are written, so that one that rots takes nothing back; else it leaves the value before. */
  constructor(disk: Disk, path: string, schema: v.GenericSchema<unknown, T>, twice = false) {
    this.#disk = disk;
    this.path = path;
    this.#schema = schema;
    this.#twice = twice;
  }

  async read(): Promise<RecordReading<T>> {
    const { current, damagedCopies } = await readTwoCopy(this.#disk, this.path);
    if (current === undefined) {
      if (damagedCopies < 2) return { found: 'absent' };
      return { found: 'damaged', detail: `neither ${copyPath(this.path, 0)} nor ${copyPath(this.path, 1)} checks out` };
    }
    const parsed = v.safeParse(this.#schema, decodeJson(current.payload));
    if (parsed.success) return { found: 'whole', value: parsed.output, damagedCopies };
    return { found: 'damaged', detail: `${this.path}.* is whole but of an unknown shape: ${parsed.issues[0].message}` };
  }

  /** Durable once it returns; cut before, the older value stands. */
  async write(value: T): Promise<void> {
    const payload = new TextEncoder().encode(JSON.stringify(value));
    const { current } = await readTwoCopy(this.#disk, this.path);
    await writeTwoCopy(this.#disk, this.path, payload);
    if (this.#twice || current === undefined) await writeTwoCopy(this.#disk, this.path, payload);
  }
}

function decodeJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}
