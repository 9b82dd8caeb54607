import { expect, it } from 'vitest';
import { EveryCut } from './first-boot/every-cut.ts';

const SEED = Number(process.env.HOLDFAST_SEED ?? '1');

it('first boot, cut at every operation of a whole life, and a sample of the pairs', async () => {
  const counts = await new EveryCut({ seed: SEED, share: 0.002, progress: (l) => console.log(l) }).run();
  expect(counts.cuts).toBeGreaterThan(1000);
});
