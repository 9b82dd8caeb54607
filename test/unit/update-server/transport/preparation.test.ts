import { randomBytes } from 'node:crypto';
import { access, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { TransportState } from '../../../../protocol/operator-api.ts';
import { sha256Hex } from '../../../../trust/crypto.ts';
import type { ServerEvent } from '../../../../update-server/core/events.ts';
import type { TransportForm } from '../../../../update-server/core/transport-plan.ts';
import type { Preparation } from '../../../../update-server/transport/preparation.ts';
import { Testbed, until } from '../testbed.ts';
import { imageOf, publish, releaseOf, settled, store } from './images.ts';

const [A, B, C] = [imageOf(1), imageOf(2), imageOf(3)];
const [a, b, c] = [A, B, C].map(sha256Hex) as [string, string, string];

let bed: Testbed;
beforeEach(async () => {
  bed = await Testbed.start();
});
afterEach(() => bed.stop());

const current = (): Preparation => {
  if (bed.preparation === undefined) throw new Error('nothing is prepared');
  return bed.preparation;
};
const find = (imageSha256: string, kind: TransportState['kind'], from: string | null = null) =>
  current()
    .list()
    .find((one) => one.imageSha256 === imageSha256 && one.kind === kind && one.fromSha256 === from);
const recipe = (imageSha256: string, oldSha256: string): TransportForm => ({ kind: 'recipe', imageSha256, oldSha256 });
const onDisk = async (): Promise<string[]> =>
  (await readdir(join(bed.directory, 'transport'))).filter((name) => name !== 'parts').sort();

/** The worker processes that this process has started. */
async function workers(): Promise<number[]> {
  const tasks = await readdir('/proc/self/task');
  const children = await Promise.all(
    tasks.map((task) => readFile(`/proc/self/task/${task}/children`, 'utf8').catch(() => '')),
  );
  const ids = children.join(' ').split(/\s+/).filter(Boolean).map(Number);
  const found: number[] = [];
  for (const id of ids) {
    const command = await readFile(`/proc/${id}/cmdline`, 'utf8').catch(() => '');
    if (command.includes('transport/worker.ts')) found.push(id);
  }
  return found;
}

/** Two releases, of which only the newest is prepared, and no recipe yet. */
async function allButTheRecipe(): Promise<void> {
  await store(bed, A);
  await store(bed, B);
  await publish(bed, releaseOf(1, A), releaseOf(2, B));
  await bed.startPreparation({ recipesFrom: 0 });
  await settled(bed);
}

test('a release is prepared in the background, and each step is told', async () => {
  const heard: ServerEvent[] = [];
  bed.events.subscribe((event) => heard.push(event));
  await bed.startPreparation();
  await store(bed, A);
  await publish(bed, releaseOf(1, A));
  await settled(bed);
  expect(find(a, 'blocks-zstd')).toMatchObject({ state: 'made', donePercent: null });
  expect(find(a, 'pieces')?.sizeBytes).toBe(24 + Math.ceil(A.length / 4096) * 8);
  expect(heard.filter((event) => event.kind === 'transport').every((event) => event.id === a)).toBe(true);
  expect(heard.filter((event) => event.kind === 'transport').length).toBeGreaterThan(4);
  expect(current().counters.made).toEqual({ blocks: 1, pieces: 1, recipe: 0 });
});

test('an image that rotted on disk fails, is remembered, and stops nothing else', async () => {
  await bed.startPreparation();
  await store(bed, A);
  await store(bed, B);
  const rotten = Uint8Array.from(A);
  rotten[1000] = (rotten[1000] ?? 0) ^ 1;
  await writeFile(bed.artifacts.path(a), rotten);
  await publish(bed, releaseOf(1, A), releaseOf(2, B));
  await settled(bed);
  expect(find(a, 'blocks-zstd')).toMatchObject({ state: 'failed', detail: expect.stringContaining('damaged') });
  expect(find(a, 'pieces')).toMatchObject({ state: 'failed', detail: expect.stringContaining('damaged') });
  expect(find(b, 'recipe', a)).toMatchObject({ state: 'failed', detail: 'the stored old image is damaged' });
  expect(find(b, 'blocks-zstd')?.state).toBe('made');
  expect(await onDisk()).toEqual([`${b}.blocks-zstd`, `${b}.pieces`]);
  expect(current().counters.failed).toEqual({ blocks: 1, pieces: 1, recipe: 1 });
});

test('what fails is tried three times, with pauses, and no more', async () => {
  await bed.startPreparation();
  await store(bed, B);
  await publish(bed, releaseOf(1, A), releaseOf(2, B));
  await settled(bed);
  const again = async (): Promise<string> => {
    const outcome = await current().demand(recipe(b, a), 'acme-cam');
    await settled(bed);
    return outcome;
  };
  const tries = () => current().counters.failed.recipe;
  expect([await again(), tries()]).toEqual(['unknown', 1]);
  bed.clock.now += 11 * 60_000;
  expect([await again(), tries()]).toEqual(['queued', 2]);
  bed.clock.now += 11 * 60_000;
  expect([await again(), tries()]).toEqual(['unknown', 2]);
  bed.clock.now += 10 * 60_000;
  expect([await again(), tries()]).toEqual(['queued', 3]);
  bed.clock.now += 1000 * 60_000;
  expect([await again(), tries()]).toEqual(['unknown', 3]);
});

test('a worker that takes more memory than it may is ended, and the server goes on', async () => {
  await bed.startPreparation({ memoryCapBytes: 20 * 2 ** 20 });
  await store(bed, A);
  await publish(bed, releaseOf(1, A));
  await settled(bed);
  expect(find(a, 'blocks-zstd')).toMatchObject({ state: 'failed', detail: expect.stringMatching(/took \d+ MiB/) });
  expect(await workers()).toEqual([]);
  expect(await readdir(join(bed.directory, 'transport/parts'))).toEqual([]);
});

test('a worker that is killed from outside costs one form, and nothing else', async () => {
  await bed.startPreparation();
  await store(bed, A);
  await publish(bed, releaseOf(1, A));
  const [worker] = await until(async () => {
    const found = await workers();
    return found.length > 0 ? found : undefined;
  });
  process.kill(worker ?? 0, 'SIGKILL');
  await settled(bed);
  expect(find(a, 'blocks-zstd')).toMatchObject({ state: 'failed', detail: 'the worker ended by SIGKILL' });
  expect(find(a, 'pieces')?.state).toBe('made');
});

test('a server that ends takes its worker with it, and the next start makes what is missing and nothing twice', async () => {
  await allButTheRecipe();
  const before = await stat(join(bed.directory, 'transport', `${b}.blocks-zstd`));
  await bed.startPreparation({ recipesFrom: 1 });
  await until(async () => (await workers()).length > 0);
  await current().close();
  expect(await workers()).toEqual([]);
  expect(await onDisk()).not.toContain(`${b}.from-${a}`);
  await writeFile(join(bed.directory, 'transport/parts/left-over'), 'x');
  await bed.startPreparation({ recipesFrom: 1 });
  await settled(bed);
  expect(await onDisk()).toContain(`${b}.from-${a}`);
  expect(await readdir(join(bed.directory, 'transport/parts'))).toEqual([]);
  expect((await stat(join(bed.directory, 'transport', `${b}.blocks-zstd`))).mtimeMs).toBe(before.mtimeMs);
  expect(current().counters.made).toEqual({ blocks: 0, pieces: 0, recipe: 1 });
});

test('what was asked for goes before what the plan has further down', async () => {
  await bed.startPreparation();
  for (const image of [A, B, C]) await store(bed, image);
  await publish(bed, releaseOf(1, A), releaseOf(2, B), releaseOf(3, C));
  await current().imageSizeBytes('');
  expect(await current().demand({ kind: 'pieces', imageSha256: a }, 'acme-cam')).toBe('queued');
  expect(await current().demand({ kind: 'pieces', imageSha256: a }, 'acme-hub')).toBe('unknown');
  await until(() => find(a, 'pieces')?.state === 'made');
  expect(find(b, 'pieces')?.state).toBe('queued');
});

test('the list of demands is bounded', async () => {
  await bed.startPreparation();
  const olds = Array.from({ length: 70 }, () => new Uint8Array(randomBytes(64)));
  await publish(bed, ...olds.map((old, index) => releaseOf(index + 1, old)), releaseOf(100, A));
  const outcomes = [];
  for (const old of olds) outcomes.push(await current().demand(recipe(a, sha256Hex(old)), 'acme-cam'));
  // What the plan makes anyway needs no place on the list.
  expect(outcomes.slice(0, 64)).toEqual(Array(64).fill('queued'));
  expect(outcomes.slice(64, 67)).toEqual(['full', 'full', 'full']);
  expect(outcomes.slice(67)).toEqual(['queued', 'queued', 'queued']);
});

test('recipes go with the releases that they lead into, packed forms with their image', async () => {
  await bed.startPreparation({ recipesFrom: 1 });
  for (const image of [A, B, C]) await store(bed, image);
  await publish(bed, releaseOf(1, A), releaseOf(2, B));
  await settled(bed);
  expect(await onDisk()).toContain(`${b}.from-${a}`);
  await publish(bed, releaseOf(2, B), releaseOf(3, C));
  await settled(bed);
  expect(await onDisk()).toEqual(
    [`${b}.blocks-zstd`, `${b}.pieces`, `${c}.blocks-zstd`, `${c}.from-${b}`, `${c}.pieces`].sort(),
  );
});

test('above the cap on disk goes what nobody wants by plan, then what was just made', async () => {
  await allButTheRecipe();
  const diskCapBytes = current().storedBytes + 100;
  await bed.startPreparation({ recipesFrom: 0, diskCapBytes });
  expect(await current().demand({ kind: 'blocks', imageSha256: b, coding: 'gzip' }, 'acme-cam')).toBe('queued');
  await settled(bed);
  expect(current().storedBytes).toBeLessThanOrEqual(diskCapBytes);
  expect(await onDisk()).toEqual([`${b}.blocks-zstd`, `${b}.pieces`]);
  expect(await current().demand({ kind: 'blocks', imageSha256: b, coding: 'gzip' }, 'acme-cam')).toBe('unknown');

  await bed.startPreparation({ recipesFrom: 0, diskCapBytes: diskCapBytes + 1_100_000 });
  for (const image of [a, b]) {
    expect(await current().demand({ kind: 'blocks', imageSha256: image, coding: 'gzip' }, 'acme-cam')).toBe('queued');
    await settled(bed);
  }
  expect((await onDisk()).filter((name) => name.endsWith('gzip'))).toEqual([`${b}.blocks-gzip`]);
});

test('a file that somebody removed is made again when it is asked for', async () => {
  await bed.startPreparation();
  await store(bed, A);
  await publish(bed, releaseOf(1, A));
  await settled(bed);
  const path = join(bed.directory, 'transport', `${a}.pieces`);
  await rm(path);
  expect(await current().open({ kind: 'pieces', imageSha256: a })).toBeUndefined();
  expect(await current().demand({ kind: 'pieces', imageSha256: a }, 'acme-cam')).toBe('queued');
  await settled(bed);
  await access(path);
});
