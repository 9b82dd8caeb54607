import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeDelta } from '../../../delta/encode/encode.ts';
import { encodeDeltaInWorker } from '../../../delta/encode/in-worker.ts';

let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-delta-worker-'));
  const old = Buffer.alloc(2_000_000, 'old and unchanged ');
  await writeFile(join(directory, 'old'), old);
  await writeFile(join(directory, 'new'), Buffer.concat([Buffer.from('first'), old]));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const request = (out: string) => ({
  oldPath: join(directory, 'old'),
  newPath: join(directory, 'new'),
  outPath: join(directory, out),
});

test('the worker makes the same recipe as the encoder itself, and tells its steps', async () => {
  const steps = new Set<string>();
  const result = await encodeDeltaInWorker({ ...request('worker'), onProgress: (step) => void steps.add(step) });
  await encodeDelta(request('here'));
  expect(await readFile(join(directory, 'worker'))).toEqual(await readFile(join(directory, 'here')));
  expect(result.newSizeBytes).toBe(2_000_005);
  expect([...steps]).toEqual(expect.arrayContaining(['content', 'packing', 'proving']));
});

test('an image that is not there rejects with the system error', async () => {
  const missing = { ...request('none'), oldPath: join(directory, 'nowhere') };
  await expect(encodeDeltaInWorker(missing)).rejects.toMatchObject({ code: 'ENOENT' });
});

test('a worker that is given up leaves no recipe', async () => {
  const stop = new AbortController();
  const made = encodeDeltaInWorker(
    { ...request('stopped'), onProgress: () => stop.abort(new Error('enough')) },
    stop.signal,
  );
  await expect(made).rejects.toThrow('enough');
  await expect(readFile(join(directory, 'stopped'))).rejects.toMatchObject({ code: 'ENOENT' });
});
