import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileTooLarge, nodeDisk } from '../../../platform/disk.ts';
import {
  copyPath,
  decodeCopy,
  encodeCopy,
  RECORD_CAP_BYTES,
  readTwoCopy,
  writeTwoCopy,
} from '../../../platform/two-copy-record.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const copy = { generation: 7n, payload: bytes('{"order":["a","b"]}') };

describe('one copy', () => {
  it('decodes to what was encoded', () => {
    const decoded = decodeCopy(encodeCopy(copy));
    expect(decoded?.generation).toBe(7n);
    expect(decoded?.payload).toEqual(copy.payload);
  });

  it('is no copy with any one bit flipped', () => {
    const encoded = encodeCopy(copy);
    for (let bit = 0; bit < encoded.length * 8; bit += 1) {
      const flipped = Uint8Array.from(encoded);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(decodeCopy(flipped), `bit ${bit}`).toBeUndefined();
    }
  });

  it('is no copy when cut short anywhere', () => {
    const encoded = encodeCopy(copy);
    for (let length = 0; length < encoded.length; length += 1)
      expect(decodeCopy(encoded.subarray(0, length))).toBeUndefined();
  });

  it('claims no more bytes than the cap allows', () => {
    const encoded = Buffer.from(encodeCopy(copy));
    encoded.writeUInt32BE(0xffffffff, 12);
    expect(decodeCopy(encoded)).toBeUndefined();
  });
});

describe('the two copies', () => {
  let directory = '';
  let path = '';
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'holdfast-record-'));
    path = join(directory, 'record');
  });
  afterEach(() => rm(directory, { recursive: true }));

  async function current(): Promise<string | undefined> {
    const state = await readTwoCopy(nodeDisk, path);
    return state.current === undefined ? undefined : new TextDecoder().decode(state.current.payload);
  }

  it('give the newest, and the one before it when the newest is damaged', async () => {
    for (const text of ['one', 'two', 'three']) await writeTwoCopy(nodeDisk, path, bytes(text));
    expect(await current()).toBe('three');
    const newest = copyPath(path, (await readTwoCopy(nodeDisk, path)).writeTo === 0 ? 1 : 0);
    const damaged = await readFile(newest);
    damaged[20] = (damaged[20] ?? 0) ^ 1;
    await writeFile(newest, damaged);
    expect(await current()).toBe('two');
    expect((await readTwoCopy(nodeDisk, path)).damagedCopies).toBe(1);
  });

  it('are written in turn, so that the newest is never overwritten', async () => {
    await writeTwoCopy(nodeDisk, path, bytes('one'));
    const before = await readFile(copyPath(path, 0));
    await writeTwoCopy(nodeDisk, path, bytes('two'));
    expect(await readFile(copyPath(path, 0))).toEqual(before);
  });

  it('heal: a damaged copy is the one that the next write replaces', async () => {
    for (const text of ['one', 'two']) await writeTwoCopy(nodeDisk, path, bytes(text));
    await writeFile(copyPath(path, 0), 'garbage');
    await writeTwoCopy(nodeDisk, path, bytes('three'));
    expect(await readTwoCopy(nodeDisk, path)).toMatchObject({ damagedCopies: 0 });
    expect(await current()).toBe('three');
  });

  it('hold nothing when both are absent, empty or absurdly large', async () => {
    expect(await current()).toBeUndefined();
    await writeFile(copyPath(path, 0), '');
    await writeFile(copyPath(path, 1), Buffer.alloc(2 * RECORD_CAP_BYTES));
    expect(await current()).toBeUndefined();
    expect((await readTwoCopy(nodeDisk, path)).damagedCopies).toBe(2);
  });

  it('refuse a payload beyond the cap before anything is written', async () => {
    await expect(writeTwoCopy(nodeDisk, path, new Uint8Array(RECORD_CAP_BYTES + 1))).rejects.toBeInstanceOf(
      FileTooLarge,
    );
    expect(await nodeDisk.list(directory)).toEqual([]);
  });
});
