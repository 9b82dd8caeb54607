/**
 * The image that the running slot holds, as the source of what need not be fetched: which one it is, and reading it.
 *
 * Which image it is follows from the signed targets: they list the release whose sequence the slot's record gives. No
 * record of its own is kept, so none can be stale, and a device that never updated knows it too. It is a hint: a slot
 * that holds something else makes wrong blocks, and those come another way.
 * May not: write to the running slot; it is opened for reading, past the page cache where that is possible.
 */
import type { OldReader } from '../../delta/decode/old-image.ts';
import type { Verified } from '../../trust/bytes.ts';
import type { Release } from '../../trust/release.ts';
import type { Targets } from '../../trust/tuf/metadata.ts';
import type { EnginePorts, Slot } from '../core/ports.ts';
import type { SlotFile } from '../storage/slot-file.ts';
import { openForReading } from '../storage/slot-image.ts';

/** The digest of one image of the release with this sequence; undefined when the targets list none. */
export function oldDigestOf(
  targets: Verified<Targets>,
  release: Pick<Release, 'vendor' | 'hardwareClass' | 'channel'>,
  sequence: number,
  component: string,
): string | undefined {
  const found = Object.values(targets.targets).flatMap(({ custom }) => {
    const entry = custom?.holdfast;
    if (entry?.kind !== 'release' || entry.sequence !== sequence) return [];
    return entry.vendor === release.vendor && entry.hardwareClass === release.hardwareClass ? [entry] : [];
  });
  // Each channel counts for itself; a device that moved holds the other channel's.
  const entry = found.find(({ channel }) => channel === release.channel) ?? found[0];
  return entry?.images.find((image) => image.component === component)?.sha256;
}

/** One image of a slot, opened when it is first read. One read at a time, because all go through the same memory. */
export class OldSlotImage implements OldReader {
  readonly #ports: Pick<EnginePorts, 'disk' | 'board'>;
  readonly #slot: Slot;
  readonly #component: string;
  readonly #memory: Uint8Array;
  #file: SlotFile | undefined;

  /** `memory` is aligned; no read is longer. */
  constructor(ports: Pick<EnginePorts, 'disk' | 'board'>, slot: Slot, component: string, memory: Uint8Array) {
    this.#ports = ports;
    this.#slot = slot;
    this.#component = component;
    this.#memory = memory;
  }

  /** Good until the next read. Rejects when the slot cannot be read. */
  async read(length: number, position: number): Promise<Uint8Array> {
    const into = this.#memory.subarray(0, length);
    return into.subarray(0, await this.readInto(into, position));
  }

  /** `into` is aligned, as for SlotFile. Fewer bytes only at the end. */
  async readInto(into: Uint8Array, position: number): Promise<number> {
    this.#file ??= await this.#open();
    return this.#file.readInto(into, position);
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async #open(): Promise<SlotFile> {
    const file = await openForReading(this.#ports, this.#slot, this.#component);
    if (file === undefined) throw new Error(`slot ${this.#slot} has no ${this.#component}`);
    return file;
  }
}
