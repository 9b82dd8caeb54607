import { describe, expect, it } from 'vitest';
import {
  canBeCalledOff,
  EFFECTS,
  EVENT_KINDS,
  type EventKind,
  INSTALL_MACHINE,
  type InstallState,
  next,
} from '../../../../agent/core/install-machine.ts';

const STATES = Object.keys(INSTALL_MACHINE) as InstallState[];

interface Case {
  readonly start: InstallState;
  readonly event: EventKind;
  readonly target: InstallState;
}

// Written by hand, not read from the table: the ordinary course, each refusal, each way of calling off.
// biome-ignore format: one case, one line
const CASES: readonly Case[] = [
  { start: 'idle',         event: 'offered',        target: 'checking' },
  { start: 'held',         event: 'offered',        target: 'checking' },
  { start: 'idle',         event: 'unfit',          target: 'held' },
  { start: 'checking',     event: 'obtained',       target: 'downloading' },
  { start: 'checking',     event: 'refused',        target: 'idle' },
  { start: 'checking',     event: 'failed',         target: 'idle' },
  { start: 'checking',     event: 'source-away',    target: 'checking' },
  { start: 'downloading',  event: 'written',        target: 'verifying' },
  { start: 'downloading',  event: 'refused',        target: 'idle' },
  { start: 'downloading',  event: 'failed',         target: 'idle' },
  { start: 'downloading',  event: 'source-away',    target: 'downloading' },
  { start: 'downloading',  event: 'must-wait',      target: 'downloading' },
  { start: 'armed',        event: 'must-wait',      target: 'armed' },
  { start: 'verifying',    event: 'verified',       target: 'staged' },
  { start: 'verifying',    event: 'refused',        target: 'idle' },
  { start: 'verifying',    event: 'failed',         target: 'idle' },
  { start: 'staged',       event: 'root-current',   target: 'armed' },
  { start: 'staged',       event: 'failed',         target: 'idle' },
  { start: 'armed',        event: 'failed',         target: 'idle' },
  { start: 'trial',        event: 'health-passed',  target: 'confirming' },
  { start: 'trial',        event: 'health-failed',  target: 'rolling-back' },
  { start: 'trial',        event: 'server-lost',    target: 'rolling-back' },
  { start: 'confirming',   event: 'slot-confirmed', target: 'sealing' },
  { start: 'sealing',      event: 'sealed',         target: 'idle' },
  { start: 'rolling-back', event: 'back',           target: 'idle' },
  { start: 'rolling-back', event: 'unfit',          target: 'held' },
  { start: 'idle',         event: 'halt',           target: 'idle' },
  { start: 'checking',     event: 'halt',           target: 'idle' },
  { start: 'downloading',  event: 'halt',           target: 'idle' },
  { start: 'verifying',    event: 'halt',           target: 'idle' },
  { start: 'staged',       event: 'halt',           target: 'idle' },
  { start: 'armed',        event: 'halt',           target: 'idle' },
  { start: 'trial',        event: 'halt',           target: 'trial' },
  { start: 'confirming',   event: 'halt',           target: 'confirming' },
  { start: 'sealing',      event: 'halt',           target: 'sealing' },
  { start: 'rolling-back', event: 'halt',           target: 'rolling-back' },
  { start: 'held',         event: 'halt',           target: 'held' },
  { start: 'checking',     event: 'superseded',     target: 'checking' },
  { start: 'downloading',  event: 'superseded',     target: 'checking' },
  { start: 'verifying',    event: 'superseded',     target: 'checking' },
  { start: 'staged',       event: 'superseded',     target: 'checking' },
  { start: 'armed',        event: 'superseded',     target: 'checking' },
  { start: 'trial',        event: 'superseded',     target: 'trial' },
  { start: 'confirming',   event: 'superseded',     target: 'confirming' },
  { start: 'sealing',      event: 'superseded',     target: 'sealing' },
  { start: 'rolling-back', event: 'superseded',     target: 'rolling-back' },
  { start: 'idle',         event: 'superseded',     target: 'idle' },
  { start: 'held',         event: 'superseded',     target: 'held' },
  { start: 'checking',     event: 'root-rotated',   target: 'checking' },
  { start: 'downloading',  event: 'root-rotated',   target: 'checking' },
  { start: 'verifying',    event: 'root-rotated',   target: 'checking' },
  { start: 'staged',       event: 'root-rotated',   target: 'checking' },
  { start: 'armed',        event: 'root-rotated',   target: 'checking' },
  { start: 'trial',        event: 'root-rotated',   target: 'trial' },
  { start: 'confirming',   event: 'root-rotated',   target: 'confirming' },
  { start: 'sealing',      event: 'root-rotated',   target: 'sealing' },
  { start: 'rolling-back', event: 'root-rotated',   target: 'rolling-back' },
  { start: 'idle',         event: 'root-rotated',   target: 'idle' },
  { start: 'held',         event: 'root-rotated',   target: 'held' },
];

const isCase = (start: InstallState, event: EventKind) =>
  CASES.some((one) => one.start === start && one.event === event);

describe('the install machine', () => {
  it.each(CASES)('goes from $start on $event to $target', ({ start, event, target }) => {
    expect(next(start, event)).toMatchObject({ state: target });
  });

  const others = STATES.flatMap((start) => EVENT_KINDS.map((event) => ({ start, event }))).filter(
    ({ start, event }) => !isCase(start, event),
  );
  it.each(others)('calls $event in $start an illegal transition', ({ start, event }) => {
    expect(next(start, event)).toEqual({ illegal: true, state: start, event });
  });

  it('takes the slot out of the order before its first byte is written, whichever way it comes to downloading', () => {
    for (const { effects, state } of transitions()) {
      if (state === 'downloading' && effects.includes('retire-slot')) {
        expect(effects.indexOf('retire-slot')).toBeLessThan(effects.indexOf('fill-slot'));
      }
    }
    expect(next('checking', 'obtained')).toMatchObject({ effects: ['retire-slot', 'fill-slot'] });
  });

  it('arms nothing that was not read back, whole, with the present root', () => {
    const arming = transitions().filter(({ effects }) => effects.includes('arm-trial'));
    const from = ['staged root-current', 'armed must-wait'];
    expect(arming.map(({ start, event }) => `${start} ${event}`)).toEqual(from);
    // Each time it asks first whether the application is in use.
    for (const { effects } of arming) expect(effects[0]).toBe('await-use');
    expect(next('verifying', 'verified')).toMatchObject({ state: 'staged', effects: ['record-slot', 'check-root'] });
  });

  it('disarms whenever it leaves armed', () => {
    const leaving = transitions().filter(({ start, state }) => start === 'armed' && state !== 'armed');
    for (const { effects } of leaving) expect(effects[0]).toBe('disarm-trial');
  });

  it('confirms the slot first, then takes a slot below the floor out, then raises the counters', () => {
    expect(next('trial', 'health-passed')).toMatchObject({ state: 'confirming', effects: ['confirm-slot'] });
    const sealing = next('confirming', 'slot-confirmed');
    expect(sealing).toMatchObject({ effects: ['report-confirmed', 'retire-below-floor', 'raise-counters'] });
  });

  it('reports success in one place only', () => {
    const reporting = transitions().filter(({ effects }) => effects.includes('report-confirmed'));
    for (const { state } of reporting) expect(state).toBe('sealing');
  });

  it('uses every effect and every event', () => {
    const used = new Set(transitions().flatMap(({ effects }) => effects));
    expect(EFFECTS.filter((effect) => !used.has(effect))).toEqual([]);
    const events = new Set(transitions().map(({ event }) => event));
    expect(EVENT_KINDS.filter((event) => !events.has(event))).toEqual([]);
  });

  it('lets the server call off exactly what is not on trial yet', () => {
    const off = STATES.filter(canBeCalledOff);
    expect(off).toEqual(['checking', 'downloading', 'verifying', 'staged', 'armed']);
  });
});

function transitions() {
  return STATES.flatMap((start) =>
    EVENT_KINDS.flatMap((event) => {
      const transition = next(start, event);
      return 'illegal' in transition ? [] : [{ start, event, ...transition }];
    }),
  );
}
