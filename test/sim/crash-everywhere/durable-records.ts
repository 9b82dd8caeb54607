/**
 * What an observer reads of a simulated disk, now or as a power cut would leave it: records, slots. By identity of the
 * content, so that looking after every operation costs little.
 */
import { createHash } from 'node:crypto';
import type { Slot } from '../../../agent/core/ports.ts';
import type { Quarantine } from '../../../agent/core/quarantine.ts';
import type { DeviceCounters, SlotContents } from '../../../agent/storage/counters.ts';
import type { InstallJournal } from '../../../agent/storage/journal.ts';
import { decodeCopy, type RecordCopy } from '../../../platform/two-copy-record.ts';
import type { FileContent } from '../file-content.ts';
import { DEVICE, type Images, STATE } from '../simulated-device.ts';
import type { SimulatedDisk } from '../simulated-disk.ts';

export interface Records {
  readonly journal: InstallJournal;
  readonly counters: DeviceCounters;
  readonly slots: SlotContents;
  readonly quarantine: Quarantine;
}

type Look = (path: string) => FileContent | undefined;

export const asFound =
  (disk: SimulatedDisk): Look =>
  (path) =>
    disk.contentOf(path);
export const asDurable =
  (disk: SimulatedDisk): Look =>
  (path) =>
    disk.durableContentOf(path);

const copies = new WeakMap<FileContent, RecordCopy | 'damaged'>();

export function copyIn(content: FileContent): RecordCopy | undefined {
  const known = copies.get(content) ?? decodeCopy(content.bytes) ?? 'damaged';
  copies.set(content, known);
  return known === 'damaged' ? undefined : known;
}

const parsed = new WeakMap<RecordCopy, unknown>();

/** Undefined when no copy checks out. The shape is the agent's own to judge. */
export function recordIn<K extends keyof Records>(look: Look, name: K): Records[K] | undefined {
  const found = [0, 1].map((copy) => look(`${STATE}/${name}.${copy}`)).map((content) => content && copyIn(content));
  const [first, second] = found;
  const newest = second !== undefined && (first === undefined || second.generation > first.generation) ? second : first;
  if (newest === undefined) return undefined;
  const value = parsed.get(newest) ?? JSON.parse(new TextDecoder().decode(newest.payload));
  parsed.set(newest, value);
  return value as Records[K];
}

const digests = new WeakMap<FileContent, string>();

export function digestOf(content: FileContent): string {
  const known = digests.get(content) ?? content.digest();
  digests.set(content, known);
  return known;
}

const beginnings = new WeakMap<FileContent, Map<number, string>>();

/** SHA-256 of the first `length` bytes. */
export function digestOfBeginning(content: FileContent, length: number): string {
  const known = beginnings.get(content) ?? new Map<number, string>();
  beginnings.set(content, known);
  const digest = known.get(length) ?? content.digest(length);
  known.set(length, digest);
  return digest;
}

const digestsOfImages = new WeakMap<Uint8Array, string>();

function digestOfImage(bytes: Uint8Array): string {
  const known = digestsOfImages.get(bytes) ?? createHash('sha256').update(bytes).digest('hex');
  digestsOfImages.set(bytes, known);
  return known;
}

export function imagePath(slot: Slot, component: string): string {
  return `${DEVICE}/board/slots/${slot}/${component}.img`;
}

/** Which whole release a slot holds; undefined for anything else. */
export function releaseIn(disk: SimulatedDisk, slot: Slot, releases: ReadonlyMap<number, Images>): number | undefined {
  for (const [sequence, images] of releases) {
    const whole = Object.entries(images).every(([component, bytes]) => {
      const content = disk.contentOf(imagePath(slot, component));
      return content?.length === bytes.length && digestOf(content) === digestOfImage(bytes);
    });
    if (whole) return sequence;
  }
  return undefined;
}
