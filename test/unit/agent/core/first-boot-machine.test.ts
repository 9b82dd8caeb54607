import { describe, expect, it } from 'vitest';
import {
  FIRST_BOOT_EFFECTS,
  FIRST_BOOT_EVENTS,
  FIRST_BOOT_MACHINE,
  type FirstBootEffect,
  type FirstBootEvent,
  type FirstBootState,
  nextFirstBoot,
  startFirstBoot,
  withDebts,
} from '../../../../agent/core/first-boot-machine.ts';

const STATES = Object.keys(FIRST_BOOT_MACHINE) as FirstBootState[];

// Written by hand, not read from the table. A row: the event, and the state that it leads to from each start.
// biome-ignore format: one start, one line
const CASES: Readonly<Record<FirstBootState, Partial<Record<FirstBootEvent, FirstBootState>>>> = {
  factory: { started: 'factory', generated: 'generated' },
  generated: { started: 'factory', 'escrow-kept': 'escrowed' },
  escrowed: { started: 'escrowed', 'one-applied': 'applied', 'all-applied': 'applied', uncovered: 'factory' },
  applied: { started: 'applied', 'one-applied': 'applied', 'all-applied': 'applied', verified: 'verified', uncovered: 'factory' },
  verified: { started: 'verified', reconciled: 'open', uncovered: 'factory' },
  open: { started: 'open', reconciled: 'open', enrolled: 'enrolled', rotate: 'factory', uncovered: 'factory' },
  enrolled: { started: 'enrolled', reconciled: 'enrolled', enrolled: 'enrolled', reported: 'reported', rotate: 'factory', uncovered: 'factory' },
  reported: { started: 'reported', reconciled: 'reported', enrolled: 'reported', reported: 'reported', rotate: 'factory', uncovered: 'factory' },
  blocked: { started: 'blocked', rotate: 'factory', uncovered: 'factory' },
  'clone-suspected': { started: 'clone-suspected', generated: 'generated' },
};
const ALWAYS: Partial<Record<FirstBootEvent, FirstBootState>> = {
  failed: 'blocked',
  reset: 'factory',
  'other-board': 'clone-suspected',
};

const pairs = STATES.flatMap((start) => FIRST_BOOT_EVENTS.map((event) => ({ start, event })));

interface Step {
  readonly start: FirstBootState;
  readonly event: FirstBootEvent;
  readonly state: FirstBootState;
  readonly effects: readonly FirstBootEffect[];
}

const STEPS: readonly Step[] = pairs.flatMap(({ start, event }) => {
  const transition = nextFirstBoot(start, event);
  return 'illegal' in transition ? [] : [{ start, event, ...transition }];
});

/** Which effects have which outcome: an event can come only where its effect was run. */
const OUTCOMES: Partial<Record<FirstBootEvent, FirstBootEffect>> = {
  generated: 'generate',
  'escrow-kept': 'keep-escrow',
  'one-applied': 'apply-next',
  'all-applied': 'apply-next',
  verified: 'verify',
  reconciled: 'inspect',
};

/**
 * Every way through the table, as far as `seen` tells apart. The walk knows which effects ran since the last one of `resets`,
 * across power cuts, and since this process began; an outcome is possible where the last transition ran its effect.
 */
function walk(check: (step: Step, before: ReadonlySet<FirstBootEffect>) => void): number {
  interface Place {
    readonly state: FirstBootState;
    readonly resume: FirstBootState;
    readonly done: ReadonlySet<FirstBootEffect>;
    readonly last: readonly FirstBootEffect[];
    readonly owed: readonly FirstBootEffect[];
  }
  const seen = new Set<string>();
  const waiting: Place[] = [{ state: 'factory', resume: 'factory', done: new Set(), last: [], owed: [] }];
  for (let place = waiting.pop(); place !== undefined; place = waiting.pop()) {
    const key = JSON.stringify([place.state, place.resume, [...place.done].sort(), place.last, place.owed]);
    if (seen.has(key)) continue;
    seen.add(key);
    const from = place.state === 'blocked' ? place.resume : place.state;
    const starting = startFirstBoot(from, place.owed);
    const steps: Step[] = [
      { start: from, event: 'started', ...starting },
      ...STEPS.filter(({ start, event }) => start === place.state && event !== 'started').filter(({ event }) => {
        const effect = OUTCOMES[event];
        return effect === undefined || place.last.includes(effect);
      }),
    ];
    for (const step of steps) {
      // What a boot reconciled is forgotten by the next.
      const before = new Set(
        [...place.done].filter(
          (effect) => step.event !== 'started' || (effect !== 'reconcile' && effect !== 'inspect'),
        ),
      );
      const effects = step.state === 'blocked' ? step.effects : withDebts(step.effects, place.owed);
      check({ ...step, effects }, before);
      const done = new Set(before);
      for (const effect of effects) {
        if (effect === 'begin-epoch' || effect === 'generate') done.clear();
        done.add(effect);
      }
      const resume = step.state === 'blocked' ? from : step.state;
      // Cut, or failed, at any of its effects: the rest is owed.
      for (let ran = 0; ran <= effects.length; ran += 1) {
        const owed = step.state === 'blocked' ? place.owed : effects.slice(ran);
        const partly = new Set(ran === effects.length ? done : before);
        waiting.push({ state: step.state, resume, done: partly, last: ran === effects.length ? effects : [], owed });
      }
    }
  }
  return seen.size;
}

describe('the first-boot machine', () => {
  it.each(pairs)('answers $event in $start as listed, or calls it illegal', ({ start, event }) => {
    const target = ALWAYS[event] ?? CASES[start][event];
    if (target === undefined) expect(nextFirstBoot(start, event)).toEqual({ illegal: true, state: start, event });
    else expect(nextFirstBoot(start, event)).toMatchObject({ state: target });
  });

  it('answers started, failed, reset and other-board in every state', () => {
    for (const state of STATES)
      for (const event of ['started', 'failed', 'reset', 'other-board'] as const)
        expect(nextFirstBoot(state, event), `${state} ${event}`).not.toHaveProperty('illegal');
  });

  it('applies nothing before the escrow of this epoch is kept, whatever is cut or fails', () => {
    let met = 0;
    walk(({ effects }, before) => {
      const at = effects.indexOf('apply-next');
      if (at < 0) return;
      met += 1;
      expect(before.has('keep-escrow') || effects.slice(0, at).includes('keep-escrow')).toBe(true);
    });
    expect(met).toBeGreaterThan(3);
  });

  it('opens nothing that was not verified in this epoch and reconciled in this boot', () => {
    let met = 0;
    walk(({ effects }, before) => {
      const at = effects.indexOf('open');
      if (at < 0) return;
      met += 1;
      const earlier = new Set([...before, ...effects.slice(0, at)]);
      for (const needed of ['keep-escrow', 'apply-next', 'verify', 'reconcile', 'inspect'] as const)
        expect(earlier.has(needed), needed).toBe(true);
    });
    expect(met).toBeGreaterThan(3);
  });

  it('verifies, and looks at what is in effect, only what was reconciled in this boot', () => {
    walk(({ effects }, before) => {
      for (const effect of ['verify', 'inspect'] as const) {
        const at = effects.indexOf(effect);
        if (at >= 0) expect(before.has('reconcile') || effects.slice(0, at).includes('reconcile')).toBe(true);
      }
    });
  });

  it('makes nothing new while a wipe or a retirement is owed', () => {
    walk(({ effects }) => {
      for (const debt of ['wipe', 'retire-identity'] as const) {
        if (effects.includes(debt)) expect(effects.indexOf(debt)).toBeLessThan(effects.indexOf('generate'));
      }
    });
    expect(withDebts(['begin-epoch', 'discard-staged', 'generate'], ['wipe', 'discard-staged', 'generate'])).toEqual([
      'begin-epoch',
      'wipe',
      'discard-staged',
      'generate',
    ]);
  });

  it('begins an epoch before it wipes, retires or makes, but for what was cut in the same epoch', () => {
    for (const { start, event, effects } of STEPS) {
      if (!effects.includes('generate')) continue;
      const cut = event === 'started' && (start === 'generated' || start === 'clone-suspected');
      if (!cut) expect(effects[0], `${start} ${event}`).toBe('begin-epoch');
    }
  });

  it('goes on as journaled only where nothing new is applied yet', () => {
    expect(startFirstBoot('factory', ['wipe', 'discard-staged', 'generate']).effects[0]).toBe('wipe');
    expect(startFirstBoot('factory', []).effects[0]).toBe('begin-epoch');
    expect(startFirstBoot('open', ['open'])).toEqual(FIRST_BOOT_MACHINE.open.started);
    expect(startFirstBoot('generated', ['keep-escrow'])).toMatchObject({ state: 'factory' });
  });

  it('blocks closed, says why, and lets a trial go back', () => {
    for (const state of STATES)
      expect(nextFirstBoot(state, 'failed')).toEqual({ state: 'blocked', effects: ['report-blocked', 'refuse-trial'] });
  });

  it('uses every effect and every event', () => {
    expect(new Set(STEPS.flatMap(({ effects }) => effects))).toEqual(new Set(FIRST_BOOT_EFFECTS));
    expect(new Set(STEPS.map(({ event }) => event))).toEqual(new Set(FIRST_BOOT_EVENTS));
  });
});
