/**
 * A record of everything that a board gave to its disk, as QEMU's blklogwrites driver writes it (the format of the Linux
 * kernel's dm-log-writes, Documentation/admin-guide/device-mapper/log-writes.rst), and what the disk would hold if it had
 * lost its cache at some moment: all that came before the last flush, and of the rest nothing, or some.
 *
 * Invariants: sizes are checked against the file before anything is read for them; the log is never held in memory.
 */
import { constants } from 'node:fs';
import { copyFile, type FileHandle, open } from 'node:fs/promises';
import { EXIT, Fault } from '../../platform/fault.ts';

const MAGIC = 0x6a_73_66_77_73_68_72n;
const SUPER_BYTES = 28;
const ENTRY_BYTES = 32;
const FLAG = { flush: 1n, fua: 2n, discard: 4n, mark: 8n } as const;
/** One request of a virtio disk; more is no log of ours. */
const WRITE_BYTES_AT_MOST = 64 * 1024 * 1024;

export interface LoggedWrite {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  /** Where its bytes stand in the log; undefined: the range is discarded, and reads as zeros. */
  readonly dataAt: number | undefined;
  /** Durable by itself, whatever comes after. */
  readonly fua: boolean;
}

export interface WriteLog {
  readonly path: string;
  readonly writes: readonly LoggedWrite[];
  /** How many writes had been given when each flush was asked for. */
  readonly flushes: readonly number[];
}

export async function readWriteLog(path: string): Promise<WriteLog> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const head = await exactly(file, path, 0, SUPER_BYTES);
    if (head.readBigUInt64LE(0) !== MAGIC || head.readBigUInt64LE(8) !== 1n)
      throw malformed(path, 'it has another head');
    const count = Number(head.readBigUInt64LE(16));
    const sectorBytes = head.readUInt32LE(24);
    if (![512, 1024, 2048, 4096].includes(sectorBytes)) throw malformed(path, `sectors of ${sectorBytes} bytes`);
    if (count > size / sectorBytes) throw malformed(path, `${count} entries in ${size} bytes`);
    const writes: LoggedWrite[] = [];
    const flushes: number[] = [];
    let at = sectorBytes;
    for (let number = 0; number < count; number += 1) {
      const entry = await exactly(file, path, at, ENTRY_BYTES);
      at += sectorBytes;
      const flags = entry.readBigUInt64LE(16);
      if ((flags & FLAG.mark) !== 0n) {
        at += Math.ceil(Number(entry.readBigUInt64LE(24)) / sectorBytes) * sectorBytes;
        continue;
      }
      if ((flags & FLAG.flush) !== 0n) flushes.push(writes.length);
      const sizeBytes = Number(entry.readBigUInt64LE(8)) * sectorBytes;
      if (sizeBytes === 0) continue;
      const discarded = (flags & FLAG.discard) !== 0n;
      if (!discarded && sizeBytes > WRITE_BYTES_AT_MOST) throw malformed(path, `a write of ${sizeBytes} bytes`);
      const offsetBytes = Number(entry.readBigUInt64LE(0)) * sectorBytes;
      writes.push({ offsetBytes, sizeBytes, dataAt: discarded ? undefined : at, fua: (flags & FLAG.fua) !== 0n });
      if (!discarded) at += sizeBytes;
    }
    if (at > size) throw malformed(path, `it ends before entry ${count}`);
    return { path, writes, flushes };
  } finally {
    await file.close();
  }
}

/**
 * The writes that a disk still has which loses its cache after `given` writes: those before the last flush, those that
 * are durable by themselves, and of the others those that `kept` says, because a cache is written back in any order.
 */
export function survivors(log: WriteLog, given: number, kept: (index: number) => boolean): number[] {
  const flushed = log.flushes.findLast((count) => count <= given) ?? 0;
  const found: number[] = [];
  for (let index = 0; index < Math.min(given, log.writes.length); index += 1) {
    if (index < flushed || log.writes[index]?.fua === true || kept(index)) found.push(index);
  }
  return found;
}

/** `base` (raw) with these writes, in their order, as `outFile`. */
export async function replay(log: WriteLog, base: string, indexes: readonly number[], outFile: string): Promise<void> {
  await copyFile(base, outFile, constants.COPYFILE_FICLONE);
  const [source, target] = [await open(log.path, 'r'), await open(outFile, 'r+')];
  try {
    for (const index of indexes) {
      const write = log.writes[index];
      if (write === undefined) throw new RangeError(`the log has no write ${index}`);
      const { dataAt, offsetBytes, sizeBytes } = write;
      const bytes = dataAt === undefined ? Buffer.alloc(sizeBytes) : await exactly(source, log.path, dataAt, sizeBytes);
      await target.write(bytes, 0, sizeBytes, offsetBytes);
    }
  } finally {
    await Promise.all([source.close(), target.close()]);
  }
}

async function exactly(file: FileHandle, path: string, at: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await file.read(bytes, 0, length, at);
  if (bytesRead !== length) throw malformed(path, `it ends at ${at + bytesRead}`);
  return bytes;
}

function malformed(path: string, what: string): Fault {
  return new Fault({
    code: 'write-log-malformed',
    what: `this is not a whole log of writes: ${what}`,
    where: path,
    cure: 'Record it again; QEMU writes the number of entries at each flush and at its end, so end the board by its shutdown.',
    exitStatus: EXIT.input,
  });
}
