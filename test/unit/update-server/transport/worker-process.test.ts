import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { makeInWorker } from '../../../../update-server/transport/worker-process.ts';

const FORM = { kind: 'pieces', imageSha256: '00'.repeat(32) } as const;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-worker-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** A worker that does this when it is asked, and stays whatever happens. */
async function outcomeOf(answer: string): Promise<unknown> {
  const program = join(folder, 'worker.mjs');
  await writeFile(program, `process.once('message', () => { ${answer} });\nsetInterval(() => undefined, 1000);\n`);
  const request = { form: FORM, imagePath: '/none', outPath: '/none' };
  const options = { memoryCapBytes: 2 ** 30, signal: new AbortController().signal, onProgress: () => undefined };
  return makeInWorker(request, options, program);
}

it('a worker that has done its work and cannot end is ended', async () => {
  expect(await outcomeOf("process.send({ kind: 'made' });")).toEqual({ ok: true });
});

it('so is one that has failed: what it failed of is heard', async () => {
  expect(await outcomeOf("process.send({ kind: 'failed', what: 'a disk' });")).toEqual({ ok: false, what: 'a disk' });
});

it('progress is no end', async () => {
  const said = "process.send({ kind: 'progress', step: 'packing', done: 1, total: 2 }, () => process.exit(3));";
  expect(await outcomeOf(said)).toEqual({ ok: false, what: 'the worker ended with status 3' });
});
