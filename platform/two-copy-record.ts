/**
 * A small record kept in two checksummed copies with a generation, so that a torn or lying write loses at most the
 * newest generation and never both. Used where a plain durable file is not enough: counters, boot environment.
 *
 * Copy layout (all integers big-endian): magic "HFR1" · generation uint64 · length uint32 · payload · SHA-256 of all
 * before it. The copy with the higher generation that checks out is the record; a write goes to the other one, in place.
 */
import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import type { Disk } from './disk.ts';
import { FileTooLarge } from './disk.ts';
import { systemErrorCode } from './fault.ts';

const MAGIC = 0x48465231;
const HEADER_BYTES = 16;
const DIGEST_BYTES = 32;
/** A record is state, never data. */
export const RECORD_CAP_BYTES = 64 * 1024;

export interface RecordCopy {
  readonly generation: bigint;
  readonly payload: Uint8Array;
}

export interface TwoCopyState {
  /** The newest copy that checks out; undefined when neither does. */
  readonly current: RecordCopy | undefined;
  /** How many of the two files exist and do not check out. */
  readonly damagedCopies: number;
  /** The copy a next write goes to: never the current one. */
  readonly writeTo: 0 | 1;
}

export function copyPath(path: string, copy: 0 | 1): string {
  return `${path}.${copy}`;
}

export function encodeCopy(copy: RecordCopy): Uint8Array {
  const bytes = Buffer.alloc(HEADER_BYTES + copy.payload.length + DIGEST_BYTES);
  bytes.writeUInt32BE(MAGIC, 0);
  bytes.writeBigUInt64BE(copy.generation, 4);
  bytes.writeUInt32BE(copy.payload.length, 12);
  bytes.set(copy.payload, HEADER_BYTES);
  const body = bytes.subarray(0, HEADER_BYTES + copy.payload.length);
  bytes.set(createHash('sha256').update(body).digest(), body.length);
  return bytes;
}

export function decodeCopy(bytes: Uint8Array): RecordCopy | undefined {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.length < HEADER_BYTES + DIGEST_BYTES || view.readUInt32BE(0) !== MAGIC) return undefined;
  const length = view.readUInt32BE(12);
  if (length > RECORD_CAP_BYTES || view.length < HEADER_BYTES + length + DIGEST_BYTES) return undefined;
  const body = view.subarray(0, HEADER_BYTES + length);
  const digest = view.subarray(body.length, body.length + DIGEST_BYTES);
  if (!createHash('sha256').update(body).digest().equals(digest)) return undefined;
  return { generation: view.readBigUInt64BE(4), payload: Uint8Array.from(body.subarray(HEADER_BYTES)) };
}

async function readCopy(disk: Disk, path: string): Promise<RecordCopy | 'absent' | 'damaged'> {
  try {
    const bytes = await disk.readFile(path, HEADER_BYTES + RECORD_CAP_BYTES + DIGEST_BYTES);
    return bytes === undefined ? 'absent' : (decodeCopy(bytes) ?? 'damaged');
  } catch (error) {
    // A bad sector or an absurd size makes this copy useless, not the device: the other one decides.
    if (error instanceof FileTooLarge || systemErrorCode(error) === 'EIO') return 'damaged';
    throw error;
  }
}

export async function readTwoCopy(disk: Disk, path: string): Promise<TwoCopyState> {
  const copies = [await readCopy(disk, copyPath(path, 0)), await readCopy(disk, copyPath(path, 1))] as const;
  const [first, second] = copies.map((copy) => (typeof copy === 'string' ? undefined : copy));
  const damagedCopies = copies.filter((copy) => copy === 'damaged').length;
  const newest = second !== undefined && (first === undefined || second.generation > first.generation) ? 1 : 0;
  return {
    current: newest === 0 ? first : second,
    damagedCopies,
    writeTo: newest === 0 && first !== undefined ? 1 : 0,
  };
}

/** Writes the next generation over the older copy and syncs it. The current copy is not touched. */
export async function writeTwoCopy(disk: Disk, path: string, payload: Uint8Array, permissions = 0o600): Promise<void> {
  if (payload.length > RECORD_CAP_BYTES) throw new FileTooLarge(path, payload.length, RECORD_CAP_BYTES);
  const state = await readTwoCopy(disk, path);
  const target = copyPath(path, state.writeTo);
  const file = await disk.open(target, 'create', permissions);
  try {
    await file.write(encodeCopy({ generation: (state.current?.generation ?? 0n) + 1n, payload }), 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.syncDirectory(dirname(target));
}
