/** The rotation's benchmark at a size that takes seconds, with two devices spoilt: it counts these, and no other. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { FACTORY_PASSWORD } from '../bench/rotation/device.ts';
import { type RotationFigures, runRotation } from '../bench/rotation/run.ts';

const projectRoot = join(import.meta.dirname, '../..');
const DEVICES = 20;
/** Two are away, neither in the first wave, which would wait for it; four lose power, at each of the three places. */
const SEED = 18;
let directory: string;
let figures: RotationFigures;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-rotation-'));
  let rotated = 0;
  figures = await runRotation({
    projectRoot,
    directory,
    devices: DEVICES,
    pollMs: 400,
    rebootMs: 50,
    offline: 0.15,
    cuts: 0.2,
    waves: '25%,100%',
    soak: '0s',
    timeout: '2m',
    lateReturn: 'others-done',
    seed: SEED,
    statusMs: 1000,
    fetches: 1,
    progress: () => {},
    sabotage(device) {
      rotated += 1;
      if (rotated === 3) device.plantSecret('what no owner was told');
      if (rotated === 6) device.plantSecret(FACTORY_PASSWORD);
    },
  });
});
afterAll(() => rm(directory, { recursive: true, force: true }));

it('rotates every device, also those that were away and those that lost power', () => {
  expect(figures).toMatchObject({ devices: DEVICES, proven: DEVICES, factory: 0 });
  expect(figures.away).toBeGreaterThan(0);
  expect(figures.cuts).toBeGreaterThan(0);
  expect(figures.rotatedS).toHaveLength(figures.online);
  expect(Math.min(...figures.rotatedS, ...figures.returnedS)).toBeGreaterThan(0);
});

it('gives an update to a device that was away after it has rotated, and not before', () => {
  expect(figures).toMatchObject({ offeredBefore: 0, offeredAfter: figures.away });
});

it('counts a device that its owner is locked out of, one that takes the factory’s secret, and no other', () => {
  expect(figures).toMatchObject({ lockedOut: 2, formerAccepted: 1 });
});

it('opens each device’s blob twice, and gets some of them by request, approval and fetch', () => {
  expect(figures.opened).toBeGreaterThanOrEqual(2 * DEVICES);
  expect(figures.fetched).toBe(1);
  expect(figures.auditEntries).toBeGreaterThan(DEVICES);
});
