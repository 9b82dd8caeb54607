/**
 * A sample of the campaign (`npm run sim -- --all` runs all of it): of fourteen parts every operation cut, a share of the
 * pairs and of the faults. Each part in a process of its own, as the campaign runs it.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { PARTS, type PartResult } from './crash-everywhere/parts.ts';
import { placesInSource } from './crash-everywhere/removals.ts';

const SEED = process.env.HOLDFAST_SEED ?? '1';
const MAIN = join(import.meta.dirname, 'crash-everywhere/main.ts');
const MINUTE_MS = 60_000;
/** So that the sample takes about a minute of two processors. */
const SHARE = '0.0005';
const FAULT_SHARE = '0.02';
/** The other parts are variations of these, for the whole campaign. */
const SAMPLED = PARTS.map(({ name }) => name).filter((name) =>
  [
    'stores',
    'good-update',
    'good-update-from-a-recipe',
    'good-update-without-direct-writes',
    'floor-raising-update',
    'rollback',
    'newer-agent-rolled-back',
    'u-boot-good-update',
    'tryboot-rollback',
    'failing disk, rollback',
    'bad blocks, repeated-update',
    'flipped bits, u-boot-good-update',
    'lying cache, good-update',
    'network and clock, good-update',
  ].includes(name),
);

async function sample(name: string): Promise<PartResult> {
  const share = name.startsWith('bad blocks') ? '1' : name.includes(',') ? FAULT_SHARE : SHARE;
  const { stdout } = await promisify(execFile)(process.execPath, [MAIN, name, '--seed', SEED, '--share', share]);
  return JSON.parse(stdout);
}

describe.concurrent('cut everywhere', { timeout: 10 * MINUTE_MS }, () => {
  it.each(SAMPLED)('%s', async (name) => {
    const { failure, replay, cuts, pairs, possiblePairs, faults } = await sample(name);
    expect(failure, `replay: npm run sim -- --only '${name}' --seed ${SEED} ${replay}`).toBe('');
    expect(cuts + faults).toBeGreaterThan(name.includes(',') ? 0 : 50);
    expect(pairs).toBeLessThanOrEqual(possiblePairs);
  });
});

it('every part that is sampled is one of the campaign', () => {
  expect(SAMPLED).toHaveLength(14);
});

describe('what is taken away', () => {
  it('is found in the source: fsyncs of files and folders, journal writes, record writes', () => {
    const places = placesInSource();
    for (const [kind, least] of [
      ['fsync', 10],
      ['journal', 6],
      ['record', 5],
    ] as const) {
      expect(places.filter((place) => place.startsWith(`${kind} `)).length).toBeGreaterThanOrEqual(least);
    }
  });
});
