import { describe, expect, it } from 'vitest';
import { decideTrial, mayTryAgain, type TrialFacts } from '../../../../agent/core/health-decision.ts';

const HEALTHY = { healthy: true, failedCheck: '', detail: '' };
const SICK = { healthy: false, failedCheck: '10-app', detail: 'no answer' };
const FACTS: TrialFacts = {
  health: HEALTHY,
  serverReachableBefore: true,
  serverReachable: false,
  waitedMs: 0,
  waitLimitMs: 1000,
};

describe('the end of a trial', () => {
  it('quarantines when a local check fails, whatever the server does', () => {
    for (const serverReachable of [true, false]) {
      const decision = decideTrial({ ...FACTS, health: SICK, serverReachable });
      expect(decision).toMatchObject({ decision: 'go-back', quarantine: true, reason: 'health-check-failed: 10-app' });
    }
  });

  it('confirms when checks pass and the server answers', () => {
    expect(decideTrial({ ...FACTS, serverReachable: true })).toEqual({ decision: 'confirm' });
  });

  it('confirms without a server that was away before the trial too', () => {
    expect(decideTrial({ ...FACTS, serverReachableBefore: false })).toEqual({ decision: 'confirm' });
  });

  it('waits for a server that was there before, up to the limit', () => {
    expect(decideTrial({ ...FACTS, waitedMs: 999 })).toEqual({ decision: 'wait' });
  });

  it('goes back without quarantine when that server stays away', () => {
    const decision = decideTrial({ ...FACTS, waitedMs: 1000 });
    expect(decision).toMatchObject({ decision: 'go-back', quarantine: false, reason: 'server-unreachable-in-trial' });
  });

  it('lets the network take a release back at most three times', () => {
    expect([0, 1, 2, 3, 4].map(mayTryAgain)).toEqual([true, true, true, false, false]);
  });
});
