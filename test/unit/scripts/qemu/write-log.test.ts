import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readWriteLog, replay, survivors, type WriteLog } from '../../../../scripts/qemu/write-log.ts';

const SECTOR = 512;
const [FLUSH, FUA, DISCARD] = [1, 2, 4];

interface Entry {
  readonly sector: number;
  readonly sectors: number;
  readonly flags: number;
  readonly fill?: number;
}

function logOf(entries: readonly Entry[], count = entries.length): Buffer {
  const head = Buffer.alloc(SECTOR);
  head.writeBigUInt64LE(0x6a736677736872n, 0);
  head.writeBigUInt64LE(1n, 8);
  head.writeBigUInt64LE(BigInt(count), 16);
  head.writeUInt32LE(SECTOR, 24);
  const parts = [head];
  for (const { sector, sectors, flags, fill } of entries) {
    const entry = Buffer.alloc(SECTOR);
    entry.writeBigUInt64LE(BigInt(sector), 0);
    entry.writeBigUInt64LE(BigInt(sectors), 8);
    entry.writeBigUInt64LE(BigInt(flags), 16);
    parts.push(entry);
    if (fill !== undefined) parts.push(Buffer.alloc(sectors * SECTOR, fill));
  }
  return Buffer.concat(parts);
}

let folder: string;
let log: WriteLog;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'write-log-'));
  const entries = [
    { sector: 0, sectors: 1, flags: 0, fill: 1 },
    { sector: 1, sectors: 2, flags: 0, fill: 2 },
    { sector: 0, sectors: 0, flags: FLUSH },
    { sector: 3, sectors: 1, flags: 0, fill: 3 },
    { sector: 0, sectors: 1, flags: FUA, fill: 4 },
    { sector: 1, sectors: 1, flags: DISCARD },
    { sector: 0, sectors: 0, flags: FLUSH },
  ];
  await writeFile(join(folder, 'log'), logOf(entries));
  await writeFile(join(folder, 'base'), Buffer.alloc(4 * SECTOR, 9));
  log = await readWriteLog(join(folder, 'log'));
});

const sectorsOf = async (path: string): Promise<(number | undefined)[]> => {
  const bytes = await readFile(path);
  return [0, 1, 2, 3].map((sector) => bytes[sector * SECTOR]);
};

async function left(given: number, kept: (index: number) => boolean): Promise<(number | undefined)[]> {
  const out = join(folder, `disk-${given}`);
  await replay(log, join(folder, 'base'), survivors(log, given, kept), out);
  return sectorsOf(out);
}

describe('a disk that lost its cache', () => {
  it('knows each write, and how many stood before each flush', () => {
    expect(log.writes.map(({ offsetBytes, sizeBytes }) => [offsetBytes / SECTOR, sizeBytes / SECTOR])).toEqual([
      [0, 1],
      [1, 2],
      [3, 1],
      [0, 1],
      [1, 1],
    ]);
    expect(log.flushes).toEqual([2, 5]);
  });

  it('has nothing that no flush came after', async () => {
    expect(await left(1, () => false)).toEqual([9, 9, 9, 9]);
    expect(await left(3, () => false)).toEqual([1, 2, 2, 9]);
  });

  it('has what was written through, though an earlier write is lost', async () => {
    expect(await left(4, () => false)).toEqual([4, 2, 2, 9]);
  });

  it('has what the cache happened to write back', async () => {
    expect(await left(3, (index) => index === 2)).toEqual([1, 2, 2, 3]);
  });

  it('has everything after a flush, and zeros where it was told to discard', async () => {
    expect(await left(5, () => false)).toEqual([4, 0, 2, 3]);
  });
});

describe('a log that is no log', () => {
  it.each([
    ['another head', Buffer.alloc(4096), /another head/],
    ['more entries than bytes', logOf([], 1_000_000), /1000000 entries/],
    [
      'cut off in a write',
      logOf([{ sector: 0, sectors: 8, flags: 0, fill: 1 }]).subarray(0, -1),
      /ends before|ends at/,
    ],
    ['a write beyond all measure', logOf([{ sector: 0, sectors: 2 ** 40, flags: 0 }]), /a write of/],
    ['nothing', Buffer.alloc(0), /ends at 0/],
  ])('%s', async (name, bytes, message) => {
    const path = join(folder, name);
    await writeFile(path, bytes);
    await expect(readWriteLog(path)).rejects.toThrow(message);
  });
});
