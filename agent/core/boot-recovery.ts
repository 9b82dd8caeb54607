/**
 * What a device does when its agent starts: booted slot × trial flag × attempts left × journal → state. First match
 * wins; no match is a safe hold (nothing is written, nothing is armed) and a report.
 *
 * Invariants: a slot that runs on trial ends in a judgement or goes back, whatever the journal says; a trial flag that
 * nobody owes is taken away; an update under way is verified again from the start, never continued blindly.
 * May not: read or write anything.
 */
import type { Effect, InstallState } from './install-machine.ts';

/** The booted slot, seen from the update that the journal speaks of. */
export type BootedRole =
  /** The slot that the update writes to. */
  | 'target'
  /** The other one, or no update is under way. */
  | 'other';

export type TrialFlag =
  | 'none'
  /** Attempts are left. */
  | 'pending'
  /** All attempts were used up, and nobody confirmed. */
  | 'spent';

export interface BootSituation {
  readonly booted: BootedRole;
  /** The bootloader used up an attempt to get here, and the flag for this slot still stands. */
  readonly onTrial: boolean;
  readonly flag: TrialFlag;
  /** `damaged`: there is a journal, and no copy of it checks out. */
  readonly journal: InstallState | 'damaged';
  /** The booted slot holds a release below the floor. */
  readonly belowFloor: boolean;
}

export interface Recovery {
  readonly state: InstallState;
  /** `as-journaled`: what the journal says is still owed. */
  readonly effects: readonly Effect[] | 'as-journaled';
  /** Goes into the report when something was lost or taken back; empty when this is the ordinary course. */
  readonly reason: string;
  /** With a rollback: is the release to blame? */
  readonly quarantine: boolean;
}

type Match<T> = readonly T[] | '*';

export interface RecoveryRule {
  readonly name: string;
  readonly booted: BootedRole | '*';
  readonly onTrial: boolean | '*';
  readonly flag: Match<TrialFlag>;
  readonly journal: Match<InstallState | 'damaged'>;
  readonly belowFloor: boolean | '*';
  readonly gives: Recovery;
}

const BACK: readonly Effect[] = ['record-verdict', 'disarm-trial', 'go-back'];

function enter(state: InstallState, effects: Recovery['effects'], reason = '', quarantine = false): Recovery {
  return { state, effects, reason, quarantine };
}

// biome-ignore format: one rule, one line
export const RECOVERY_RULES: readonly RecoveryRule[] = [
  // On trial: judged, finished, or sent back. Sealing begins after the confirmation: a card that lost it is told again.
  { name: 'trial-begins',         booted: 'target', onTrial: true,  flag: '*', journal: ['armed', 'trial'], belowFloor: '*', gives: enter('trial', ['judge-trial']) },
  { name: 'trial-passed',         booted: 'target', onTrial: true,  flag: '*', journal: ['confirming', 'sealing'], belowFloor: '*', gives: enter('confirming', ['confirm-slot']) },
  { name: 'trial-going-back',     booted: 'target', onTrial: true,  flag: '*', journal: ['rolling-back'],   belowFloor: '*', gives: enter('rolling-back', 'as-journaled') },
  { name: 'trial-not-owed',       booted: '*',      onTrial: true,  flag: '*', journal: '*',                belowFloor: '*', gives: enter('rolling-back', BACK, 'trial-not-owed') },
  // The new slot, and the bootloader holds it for permanent (only Confirming tells it so).
  { name: 'confirmed-unsealed',   booted: 'target', onTrial: false, flag: ['none'], journal: ['trial', 'confirming'], belowFloor: '*', gives: enter('confirming', ['confirm-slot']) },
  { name: 'sealing-cut',          booted: 'target', onTrial: false, flag: ['none'], journal: ['sealing'],             belowFloor: '*', gives: enter('sealing', 'as-journaled') },
  { name: 'disarmed-not-left',    booted: 'target', onTrial: false, flag: ['none'], journal: ['rolling-back'],        belowFloor: '*', gives: enter('rolling-back', 'as-journaled') },
  // The old slot, and a trial was owed, or is over.
  { name: 'attempts-exhausted',   booted: 'other',  onTrial: false, flag: ['spent'],   journal: ['armed', 'trial', 'confirming'], belowFloor: '*', gives: enter('rolling-back', BACK, 'trial-attempts-exhausted', true) },
  { name: 'reboot-owed',          booted: 'other',  onTrial: false, flag: ['pending'], journal: ['armed', 'trial', 'confirming'], belowFloor: '*', gives: enter('armed', ['await-use', 'request-reboot']) },
  { name: 'not-yet-armed',        booted: 'other',  onTrial: false, flag: ['none'],    journal: ['armed'],                        belowFloor: '*', gives: enter('armed', 'as-journaled') },
  { name: 'trial-ended-unseen',   booted: 'other',  onTrial: false, flag: ['none'],    journal: ['trial'],                        belowFloor: '*', gives: enter('rolling-back', BACK, 'trial-attempts-exhausted', true) },
  { name: 'confirmed-not-booted', booted: 'other',  onTrial: false, flag: '*',         journal: ['confirming', 'sealing'],        belowFloor: '*', gives: enter('rolling-back', ['retire-slot', ...BACK], 'confirmed-slot-did-not-boot') },
  { name: 'back-again',           booted: 'other',  onTrial: false, flag: '*',         journal: ['rolling-back'],                 belowFloor: '*', gives: enter('rolling-back', 'as-journaled') },
  // The old slot, and the update had not got as far as a trial: verify again, keep the blocks that are right.
  { name: 'update-cut',           booted: 'other',  onTrial: false, flag: ['none'],              journal: ['checking', 'downloading', 'verifying', 'staged'], belowFloor: '*', gives: enter('checking', ['obtain']) },
  { name: 'update-cut-flag-left', booted: 'other',  onTrial: false, flag: ['pending', 'spent'],  journal: ['checking', 'downloading', 'verifying', 'staged'], belowFloor: '*', gives: enter('checking', ['disarm-trial', 'obtain']) },
  // Nothing under way.
  { name: 'below-floor',          booted: '*',      onTrial: false, flag: ['none'],             journal: ['idle', 'held', 'damaged'], belowFloor: true,  gives: enter('held', ['report-held'], 'booted-below-floor') },
  { name: 'at-rest',              booted: '*',      onTrial: false, flag: ['none'],             journal: ['idle'],                    belowFloor: false, gives: enter('idle', 'as-journaled') },
  { name: 'hold-is-over',         booted: '*',      onTrial: false, flag: ['none'],             journal: ['held'],                    belowFloor: false, gives: enter('idle', ['settle']) },
  { name: 'flag-left',            booted: 'other',  onTrial: false, flag: ['pending', 'spent'], journal: ['idle', 'held'],            belowFloor: false, gives: enter('idle', ['disarm-trial', 'settle']) },
  { name: 'journal-lost',         booted: '*',      onTrial: false, flag: '*',                  journal: ['damaged'],                 belowFloor: false, gives: enter('idle', ['disarm-trial', 'settle'], 'journal-damaged') },
];

/** The state to enter, and the rule that said so; `no-rule` is the safe hold. */
export function recover(situation: BootSituation): Recovery & { readonly rule: string } {
  const rule = RECOVERY_RULES.find((candidate) => matches(candidate, situation));
  if (rule === undefined) return { ...enter('held', ['report-held'], 'no-recovery-rule'), rule: 'no-rule' };
  return { ...rule.gives, rule: rule.name };
}

function matches(rule: RecoveryRule, situation: BootSituation): boolean {
  return (
    (rule.booted === '*' || rule.booted === situation.booted) &&
    (rule.onTrial === '*' || rule.onTrial === situation.onTrial) &&
    (rule.flag === '*' || rule.flag.includes(situation.flag)) &&
    (rule.journal === '*' || rule.journal.includes(situation.journal)) &&
    (rule.belowFloor === '*' || rule.belowFloor === situation.belowFloor)
  );
}
