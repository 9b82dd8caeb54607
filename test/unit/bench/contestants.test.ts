/** The parts of the benchmark that we wrote ourselves do what those who use them take for granted. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { applyPieces, packPieces } from '../../bench/packed-pieces.ts';
import { RangeServer } from '../../bench/range-server.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-contestants-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string): string => join(folder, name);

describe('4 KiB pieces', () => {
  it('make the new image again: moved, missing, repeated, and a last one that is short', async () => {
    const old = randomBytes(4096 * 20);
    const own = randomBytes(4096);
    const zeros = Buffer.alloc(4096 * 3);
    const fresh = Buffer.concat([
      own,
      old.subarray(4096 * 5, 4096 * 9),
      own,
      zeros,
      old.subarray(0, 8192),
      randomBytes(77),
    ]);
    writeFileSync(path('old'), old);
    const { index } = packPieces(old, fresh, path('pieces'));
    // Once each: own, zeros, the short one.
    expect(readFileSync(path('pieces')).length).toBe(4096 * 2 + 77);
    for (const [name, bytes] of [
      ['index.zst', index],
      ['pieces.zst', readFileSync(path('pieces'))],
    ] as const) {
      writeFileSync(path(name), zstdCompressSync(bytes));
    }
    await applyPieces(path('old'), path('index.zst'), path('pieces.zst'), path('out'));
    expect(readFileSync(path('out')).equals(fresh)).toBe(true);
  });
});

describe('the server of chunk stores', () => {
  it('counts what it serves: a file, a range, several ranges as one body', async () => {
    writeFileSync(path('store'), '0123456789abcdef');
    const server = await RangeServer.start(folder);
    try {
      const ask = (range?: string) =>
        fetch(`${server.url}/store`, range === undefined ? {} : { headers: { range: `bytes=${range}` } });
      expect(await (await ask()).text()).toBe('0123456789abcdef');
      expect(server.servedBytes).toBe(16);
      const one = await ask('4-');
      expect([one.status, one.headers.get('content-range'), await one.text()]).toEqual([
        206,
        'bytes 4-15/16',
        '456789abcdef',
      ]);
      const several = await (await ask('0-1,14-99')).text();
      expect(several).toContain('content-range: bytes 14-15/16\r\n\r\nef\r\n');
      expect(server.servedBytes).toBe(16 + 12 + several.length);
      expect((await fetch(`${server.url}/none`)).status).toBe(404);
    } finally {
      await server.close();
    }
  });
});

describe('npm run bench', () => {
  it.each([
    ['nothing', []],
    ['an unknown benchmark', ['speed']],
    ['fewer runs than a median needs', ['install', '--runs', '3']],
  ])('refuses %s before it does anything', async (_, args) => {
    const status = await new Promise((resolve) => {
      execFile(process.execPath, ['test/bench/main.ts', ...args], (error) => resolve(error?.code ?? 0));
    });
    expect(status).toBe(2);
  });
});
