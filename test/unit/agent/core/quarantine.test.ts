import { describe, expect, it } from 'vitest';
import {
  actionMayTry,
  addToQuarantine,
  countNetworkReturn,
  EMPTY_QUARANTINE,
  isQuarantined,
  pruneQuarantine,
  QUARANTINE_LIMIT,
  reportedQuarantine,
} from '../../../../agent/core/quarantine.ts';

const entry = (sequence: number) => ({ sequence, reason: 'health-check-failed: 10-app' });
const back = (bootId: string, actionId = 'action-1') => ({ sequence: 5, actionId, bootId });

describe('quarantine', () => {
  it('keeps an entry once, with its first reason', () => {
    const once = addToQuarantine(EMPTY_QUARANTINE, entry(5));
    expect(addToQuarantine(once, { sequence: 5, reason: 'other' })).toBe(once);
    expect(isQuarantined(once, 5)?.reason).toBe('health-check-failed: 10-app');
    expect(isQuarantined(once, 6)).toBeUndefined();
  });

  it('holds a bounded number, the oldest go', () => {
    let quarantine = EMPTY_QUARANTINE;
    for (let sequence = 1; sequence <= QUARANTINE_LIMIT + 1; sequence += 1) {
      quarantine = addToQuarantine(quarantine, entry(sequence));
    }
    expect(quarantine.entries).toHaveLength(QUARANTINE_LIMIT);
    expect(isQuarantined(quarantine, 1)).toBeUndefined();
  });

  it('forgets what could not install any more', () => {
    const quarantine = addToQuarantine(addToQuarantine(EMPTY_QUARANTINE, entry(5)), entry(9));
    expect(pruneQuarantine(quarantine, 5).entries).toEqual([entry(9)]);
  });

  it('reports the sixteen newest', () => {
    let quarantine = EMPTY_QUARANTINE;
    for (let sequence = 1; sequence <= 20; sequence += 1) quarantine = addToQuarantine(quarantine, entry(sequence));
    expect(reportedQuarantine(quarantine).map(({ sequence }) => sequence)).toEqual(
      Array.from({ length: 16 }, (_, at) => 20 - at),
    );
  });
});

describe('releases that the network took back', () => {
  it('count one return per boot, however often it is recorded', () => {
    const twice = countNetworkReturn(countNetworkReturn(EMPTY_QUARANTINE, back('boot-1')), back('boot-1'));
    expect(twice.returns?.bootIds).toEqual(['boot-1']);
  });

  it('may try again until the third return, and then only as a new action', () => {
    let quarantine = EMPTY_QUARANTINE;
    for (const bootId of ['boot-1', 'boot-2', 'boot-3']) {
      expect(actionMayTry(quarantine, 'action-1')).toBe(true);
      quarantine = countNetworkReturn(quarantine, back(bootId));
    }
    expect(actionMayTry(quarantine, 'action-1')).toBe(false);
    expect(actionMayTry(quarantine, 'action-2')).toBe(true);
    expect(quarantine.entries).toEqual([]);
  });
});
