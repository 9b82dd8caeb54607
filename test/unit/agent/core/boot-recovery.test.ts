import { describe, expect, it } from 'vitest';
import { type BootSituation, RECOVERY_RULES, recover } from '../../../../agent/core/boot-recovery.ts';
import { INSTALL_MACHINE, type InstallState } from '../../../../agent/core/install-machine.ts';

const STATES = Object.keys(INSTALL_MACHINE) as InstallState[];

/** Every situation that can be written down; a trial boot implies a flag. */
const SITUATIONS: readonly BootSituation[] = (['target', 'other'] as const)
  .flatMap((booted) =>
    [true, false].flatMap((onTrial) =>
      (['none', 'pending', 'spent'] as const).flatMap((flag) =>
        ([...STATES, 'damaged'] as const).flatMap((journal) =>
          [true, false].map((belowFloor) => ({ booted, onTrial, flag, journal, belowFloor })),
        ),
      ),
    ),
  )
  .filter(({ onTrial, flag }) => !onTrial || flag !== 'none');

interface Case {
  readonly start: Partial<BootSituation>;
  readonly rule: string;
  readonly target: InstallState;
  readonly reason?: string;
}

const OLD: BootSituation = { booted: 'other', onTrial: false, flag: 'none', journal: 'idle', belowFloor: false };
const TRIAL: Partial<BootSituation> = { booted: 'target', onTrial: true, flag: 'pending' };

// biome-ignore format: one case, one line
const CASES: readonly Case[] = [
  { start: {},                                                        rule: 'at-rest',              target: 'idle' },
  { start: { journal: 'checking' },                                   rule: 'update-cut',           target: 'checking' },
  { start: { journal: 'downloading' },                                rule: 'update-cut',           target: 'checking' },
  { start: { journal: 'verifying' },                                  rule: 'update-cut',           target: 'checking' },
  { start: { journal: 'staged' },                                     rule: 'update-cut',           target: 'checking' },
  { start: { journal: 'staged', flag: 'pending' },                    rule: 'update-cut-flag-left', target: 'checking' },
  { start: { journal: 'armed' },                                      rule: 'not-yet-armed',        target: 'armed' },
  { start: { journal: 'armed', flag: 'pending' },                     rule: 'reboot-owed',          target: 'armed' },
  { start: { ...TRIAL, journal: 'armed' },                            rule: 'trial-begins',         target: 'trial' },
  { start: { ...TRIAL, journal: 'trial' },                            rule: 'trial-begins',         target: 'trial' },
  { start: { ...TRIAL, flag: 'spent', journal: 'trial' },             rule: 'trial-begins',         target: 'trial' },
  { start: { ...TRIAL, journal: 'confirming' },                       rule: 'trial-passed',         target: 'confirming' },
  { start: { ...TRIAL, journal: 'sealing' },                          rule: 'trial-passed',         target: 'confirming' },
  { start: { ...TRIAL, journal: 'rolling-back' },                     rule: 'trial-going-back',     target: 'rolling-back' },
  { start: { ...TRIAL, journal: 'idle' },                             rule: 'trial-not-owed',       target: 'rolling-back', reason: 'trial-not-owed' },
  { start: { ...TRIAL, booted: 'other', journal: 'damaged' },         rule: 'trial-not-owed',       target: 'rolling-back', reason: 'trial-not-owed' },
  { start: { booted: 'target', journal: 'confirming' },               rule: 'confirmed-unsealed',   target: 'confirming' },
  { start: { booted: 'target', journal: 'trial' },                    rule: 'confirmed-unsealed',   target: 'confirming' },
  { start: { booted: 'target', journal: 'sealing' },                  rule: 'sealing-cut',          target: 'sealing' },
  { start: { booted: 'target', journal: 'rolling-back' },             rule: 'disarmed-not-left',    target: 'rolling-back' },
  { start: { flag: 'spent', journal: 'armed' },                       rule: 'attempts-exhausted',   target: 'rolling-back', reason: 'trial-attempts-exhausted' },
  { start: { flag: 'spent', journal: 'trial' },                       rule: 'attempts-exhausted',   target: 'rolling-back', reason: 'trial-attempts-exhausted' },
  { start: { flag: 'spent', journal: 'confirming' },                  rule: 'attempts-exhausted',   target: 'rolling-back', reason: 'trial-attempts-exhausted' },
  { start: { journal: 'trial' },                                      rule: 'trial-ended-unseen',   target: 'rolling-back', reason: 'trial-attempts-exhausted' },
  { start: { journal: 'sealing' },                                    rule: 'confirmed-not-booted', target: 'rolling-back', reason: 'confirmed-slot-did-not-boot' },
  { start: { journal: 'rolling-back', flag: 'spent' },                rule: 'back-again',           target: 'rolling-back' },
  { start: { journal: 'rolling-back' },                               rule: 'back-again',           target: 'rolling-back' },
  { start: { belowFloor: true },                                      rule: 'below-floor',          target: 'held', reason: 'booted-below-floor' },
  { start: { journal: 'held' },                                       rule: 'hold-is-over',         target: 'idle' },
  { start: { flag: 'pending' },                                       rule: 'flag-left',            target: 'idle' },
  { start: { journal: 'damaged' },                                    rule: 'journal-lost',         target: 'idle', reason: 'journal-damaged' },
  { start: { booted: 'target', journal: 'downloading' },              rule: 'no-rule',              target: 'held', reason: 'no-recovery-rule' },
  { start: { booted: 'target', journal: 'armed' },                    rule: 'no-rule',              target: 'held', reason: 'no-recovery-rule' },
];

describe('boot recovery', () => {
  it.each(CASES)('$rule: $start → $target', ({ start, rule, target, reason }) => {
    expect(recover({ ...OLD, ...start })).toMatchObject({ rule, state: target, reason: reason ?? '' });
  });

  it('has a case for every rule', () => {
    const tested = new Set(CASES.map(({ rule }) => rule));
    expect(RECOVERY_RULES.map(({ name }) => name).filter((name) => !tested.has(name))).toEqual([]);
  });

  it('has no rule that an earlier one hides', () => {
    const reached = new Set(SITUATIONS.map((situation) => recover(situation).rule));
    expect(RECOVERY_RULES.map(({ name }) => name).filter((name) => !reached.has(name))).toEqual([]);
  });

  it('never holds a slot that runs on trial: it is judged, finished or sent back', () => {
    for (const situation of SITUATIONS.filter(({ onTrial }) => onTrial)) {
      expect(['trial', 'confirming', 'rolling-back']).toContain(recover(situation).state);
    }
  });

  it('never confirms what is not the target of the update', () => {
    for (const situation of SITUATIONS.filter(({ booted }) => booted === 'other')) {
      expect(['trial', 'confirming', 'sealing']).not.toContain(recover(situation).state);
    }
  });

  it('never quarantines but for a trial that nobody confirmed', () => {
    const blamed = SITUATIONS.filter((situation) => recover(situation).quarantine);
    for (const { booted, onTrial, journal } of blamed) {
      expect({ booted, onTrial }).toEqual({ booted: 'other', onTrial: false });
      expect(['armed', 'trial', 'confirming']).toContain(journal);
    }
  });

  it('writes and arms nothing in a hold', () => {
    for (const situation of SITUATIONS) {
      const { state, effects } = recover(situation);
      if (state === 'held') expect(effects).toEqual(['report-held']);
    }
  });

  it('never goes on with an update that was cut without verifying it again', () => {
    for (const situation of SITUATIONS) {
      expect(['downloading', 'verifying', 'staged']).not.toContain(recover(situation).state);
    }
  });
});
