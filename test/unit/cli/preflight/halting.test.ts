import { describe, expect, it } from 'vitest';
import { type HaltingRisk, haltingRisk } from '../../../../cli/preflight/halting.ts';
import type { Wave } from '../../../../protocol/operator-api.ts';
import { planWaves } from '../../../../update-server/core/cohort.ts';
import { decideGate, type GatePolicy, type WaveTally } from '../../../../update-server/core/gate.ts';

const USUAL: readonly Wave[] = [{ devices: 1 }, { percent: 25 }, { percent: 100 }];
const STRICT: GatePolicy = { maxFailedPercent: 20, minSample: 1 };

/** What the gate says of a wave of which so many failed, and all the others confirmed. */
function gateOf(added: number, failed: number, policy: GatePolicy): string {
  const tally: WaveTally = {
    added,
    offered: added,
    attempted: added,
    confirmed: added - failed,
    failed,
    forgiven: 0,
    pending: 0,
    empty: 0,
    free: 0,
    lastSettledUnixMs: 0,
    failures: [],
  };
  return decideGate(tally, policy, 0, 0, 'wave', 1).decision;
}

describe('how many devices can fail before a rollout halts', () => {
  it('counts what earlier waves bear, and the whole of the wave that halts', () => {
    const { waves, ...all } = haltingRisk(USUAL, 1000, STRICT);
    expect(waves.map(({ added }) => added)).toEqual([1, 249, 750]);
    expect(waves.map(({ passesWithFailed }) => passesWithFailed)).toEqual([0, 49, 150]);
    expect(waves.map(({ haltsAtFailed }) => haltsAtFailed)).toEqual([1, 50, 151]);
    expect(waves.map(({ failedAtMost }) => failedAtMost)).toEqual([1, 249, 799]);
    expect(all).toEqual({ devices: 1000, failedAtMost: 799, everyDeviceFails: 1 });
  });

  it('agrees with the gate, to the device, and with the plan of the waves', () => {
    for (const devices of [1, 2, 3, 7, 40, 333]) {
      for (const maxFailedPercent of [0, 0.5, 10, 33.3, 99]) {
        for (const minSample of [1, 5, 1000]) {
          const policy = { maxFailedPercent, minSample };
          const { waves } = haltingRisk(USUAL, devices, policy);
          const ids = Array.from({ length: devices }, (_, index) => `cam-${index}`);
          const plan = planWaves('r1', ids, USUAL);
          for (const [index, { added, passesWithFailed, haltsAtFailed }] of waves.entries()) {
            expect(added).toBe(plan.filter(({ wave }) => wave === index).length);
            if (added === 0) continue;
            expect(gateOf(added, passesWithFailed, policy)).toBe('pass');
            expect(haltsAtFailed).toBe(passesWithFailed + 1);
            expect(gateOf(added, passesWithFailed + 1, policy)).toBe('halt');
          }
        }
      }
    }
  });

  it('needs the sample before failures count, unless nobody is left', () => {
    const [first, second] = haltingRisk([{ devices: 3 }, { percent: 100 }], 100, { ...STRICT, minSample: 10 }).waves;
    expect(first?.haltsAtFirstFailed).toBe(3);
    expect(second?.haltsAtFirstFailed).toBe(10);
  });

  it('says so when nothing halts it', () => {
    const never: HaltingRisk = haltingRisk(USUAL, 40, { maxFailedPercent: 100, minSample: 1 });
    expect(never.everyDeviceFails).toBeNull();
    expect(never.waves.map(({ haltsAtFailed }) => haltsAtFailed)).toEqual([null, null, null]);
    expect(never.failedAtMost).toBe(40);
  });
});
