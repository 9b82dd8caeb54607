import { describe, expect, it } from 'vitest';
import {
  endOfPhase,
  mustBeSilent,
  planRotationCuts,
  ROTATION_PHASES,
  rotationPhase,
  savedName,
} from '../../../../../scripts/qemu/first-boot/cut-plan.ts';
import { seededRandom } from '../../../../../scripts/seeded-random.ts';

const nameOf = ({ flow, phase }: { flow: string; phase: { name: string } }) => `${flow} ${phase.name}`;

describe('power cuts of a rotation', () => {
  it('fall into every state of the first boot and of a commanded rotation alike', () => {
    const cuts = planRotationCuts(4 * ROTATION_PHASES.length, seededRandom(1)).map(nameOf);
    for (const { name } of ROTATION_PHASES) {
      for (const flow of ['first', 'commanded'])
        expect(cuts.filter((one) => one === `${flow} ${name}`)).toHaveLength(2);
    }
  });

  it('are few where a cut could do most harm first: while secrets are applied, in both', () => {
    expect(planRotationCuts(3, () => 0).map(nameOf)).toEqual([
      'first applying',
      'commanded applying',
      'commanded escrowed',
    ]);
  });

  it('fall on the same moments with the same seed, and on others with another', () => {
    const shares = (seed: number) => planRotationCuts(9, seededRandom(seed)).map(({ share }) => share);
    expect(shares(3)).toEqual(shares(3));
    expect(shares(3)).not.toEqual(shares(4));
    for (const share of shares(5)) expect(share >= 0 && share < 1).toBe(true);
  });

  it('begin from a state that an earlier phase, or the phase itself, has saved', () => {
    const names = ROTATION_PHASES.map(({ name }) => name);
    for (const { name, savedIn } of ROTATION_PHASES) {
      expect(names.indexOf(savedIn)).toBeLessThanOrEqual(names.indexOf(name));
      expect(rotationPhase(savedIn).savedIn).toBe(savedIn);
    }
    expect(savedName('commanded', rotationPhase('escrowed'))).toBe('commanded-factory');
  });
});

describe('the phases of a rotation', () => {
  it('are told by the lines that the first boot and the agent log', () => {
    const line = (event: string, state: string) =>
      `[   35.123456] holdfast-agent[260]: {"time":"2026-11-30T14:00:00.000Z","level":"info","message":"first boot","event":"${event}","state":"${state}","epoch":2}`;
    const begins = (name: string) => rotationPhase(name).begins;
    expect(begins('factory')?.test(line('rotate', 'factory'))).toBe(true);
    expect(begins('factory')?.test(line('started', 'factory'))).toBe(true);
    expect(begins('applying')?.test(line('one-applied', 'applied'))).toBe(true);
    expect(begins('verifying')?.test(line('one-applied', 'applied'))).toBe(false);
    expect(begins('verifying')?.test(line('all-applied', 'applied'))).toBe(true);
    expect(begins('reported')?.test(line('reported', 'reported'))).toBe(true);
    expect(endOfPhase(rotationPhase('verified'))).toEqual(begins('open'));
    expect(endOfPhase(rotationPhase('reported'))).toBeUndefined();
  });

  it('must be silent until OPEN, and before the first one of all', () => {
    for (const flow of ['first', 'commanded'] as const) {
      for (const name of ['factory', 'generated', 'escrowed', 'applying', 'verifying', 'verified'])
        expect(mustBeSilent(flow, rotationPhase(name))).toBe(true);
      for (const name of ['open', 'enrolled', 'reported']) expect(mustBeSilent(flow, rotationPhase(name))).toBe(false);
    }
    expect(mustBeSilent('first', rotationPhase('before'))).toBe(true);
    expect(mustBeSilent('commanded', rotationPhase('before'))).toBe(false);
  });
});
