import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { beforeEach, describe, expect, it } from 'vitest';
import { type SerialLine, SerialLog } from '../../../../scripts/qemu/serial-log.ts';

let file: string;
let source: PassThrough;
let heard: SerialLine[];
let log: SerialLog;
beforeEach(async () => {
  file = join(await mkdtemp(join(tmpdir(), 'serial-')), 'console');
  source = new PassThrough();
  heard = [];
  log = new SerialLog(source, file, (line) => void heard.push(line));
});

describe('a serial console', () => {
  it('finds a line that came before anybody waited, and takes what is before it', async () => {
    source.write('U-Boot 2023.01\r\nholdfast: slot a\r\nholdfast: slot b\r\n');
    expect((await log.waitFor(/slot (\w)/, 1000))?.[1]).toBe('a');
    expect((await log.waitFor(/slot (\w)/, 1000))?.[1]).toBe('b');
    expect(await log.waitFor(/U-Boot/, 20)).toBeUndefined();
  });

  it('puts a line together that comes in pieces, and waits for its end', async () => {
    const found = log.waitFor(/version=(\S+)/, 5000);
    source.write('lab: userspace ver');
    source.write('sion=2.0');
    source.write('.0 slot=b\n');
    expect((await found)?.[1]).toBe('2.0.0');
  });

  it('ends a wait at once when the machine goes off', async () => {
    const found = log.waitFor(/never/, 60_000);
    source.destroy();
    expect(await found).toBeUndefined();
  });

  it('leaves out what only a terminal understands', async () => {
    source.write('\u001b[2J\u001b[1;32mholdfast: slot a\u001b[0m\u0007\r\n');
    await log.waitFor(/slot a/, 1000);
    expect(heard.map(({ text }) => text)).toEqual(['holdfast: slot a']);
  });

  it('keeps every byte in its file', async () => {
    source.write('one\r\ntwo\r\n');
    await log.waitFor(/two/, 1000);
    source.destroy();
    await log.waitFor(/never/, 1000);
    await expect.poll(() => readFile(file, 'utf8')).toBe('one\r\ntwo\r\n');
  });
});
