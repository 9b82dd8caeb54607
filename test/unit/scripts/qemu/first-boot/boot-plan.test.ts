import { describe, expect, it } from 'vitest';
import { planBoots, stateSaid } from '../../../../../scripts/qemu/first-boot/boot-plan.ts';

const step = (event: string, state: string) => ({
  atMs: 0,
  text: `[   35.1] holdfast-agent[260]: {"time":"2026-11-30T14:00:00.000Z","level":"info","message":"first boot","event":"${event}","state":"${state}","epoch":1}`,
});

describe('a campaign of boots', () => {
  it('has one boot of each kind in three', () => {
    expect(planBoots(3)).toEqual([
      [
        { number: 1, kind: 'fresh' },
        { number: 2, kind: 'later' },
      ],
      [{ number: 3, kind: 'after-cut' }],
    ]);
  });

  it('has exactly as many as were asked for, each once, most of them fresh from the factory', () => {
    for (const count of [1, 2, 4, 50, 53]) {
      const boots = planBoots(count).flat();
      expect(boots.map(({ number }) => number)).toEqual(Array.from({ length: count }, (_, index) => index + 1));
      expect(boots.filter(({ kind }) => kind === 'fresh').length).toBeGreaterThanOrEqual(count / 2);
    }
  });

  it('begins every device with a first boot', () => {
    for (const [first] of planBoots(50)) expect(first?.kind).not.toBe('later');
  });
});

describe('how far a first boot has come', () => {
  it('is what its last step says', () => {
    expect(stateSaid([step('started', 'factory'), step('generated', 'generated'), { atMs: 1, text: 'noise' }])).toBe(
      'generated',
    );
    expect(stateSaid([step('other-board', 'clone-suspected')])).toBe('clone-suspected');
  });

  it('is nothing before its first step, and never a state that there is not', () => {
    expect(stateSaid([{ atMs: 0, text: 'Starting kernel ...' }, step('started', 'opened')])).toBeUndefined();
  });
});
