/**
 * "Why is this device not on its target?" One reason of the closed list (protocol/reasons.ts) for every device, since
 * when, what comes next, and the cure.
 *
 * The target is the newest release that a rollout which is not cancelled gives this device; an action that the device
 * works on right now comes before that, because it is what happens next.
 */
import { NO_SLOTS_BOARD } from '../../protocol/device-api.ts';
import type { Explanation } from '../../protocol/operator-api.ts';
import { REASONS, type Reason } from '../../protocol/reasons.ts';
import { isOpen } from './action.ts';
import { type Service, serves } from './credential-standing.ts';
import type { RaisedFlag } from './credentials.ts';
import type { Candidate } from './offer.ts';
import type { DeviceRecord, PartState } from './ports.ts';

/** A rollout that names this device, or its class, and gives it nothing. */
export interface Exclusion {
  readonly rolloutId: string;
  readonly why: 'other-class' | 'other-channel';
  readonly detail: string;
  readonly sinceUnixMs: number;
  readonly sequence: number;
}

export interface ExplainFacts {
  readonly device: DeviceRecord;
  /** Every part of the device, of rollouts in any state. */
  readonly candidates: readonly Candidate[];
  /** Of rollouts that are neither complete nor cancelled. */
  readonly exclusions: readonly Exclusion[];
  readonly nowUnixMs: number;
  /** What it may be given, as it stands with its credentials. */
  readonly service: Service;
}

interface Finding {
  readonly reason: Reason;
  readonly detail: string;
  readonly sinceUnixMs: number | null;
}

export function explain(facts: ExplainFacts): Explanation {
  const { reason, detail, sinceUnixMs } = find(facts);
  const { next, cure } = REASONS[reason];
  return { deviceId: facts.device.deviceId, reason, detail: detail.slice(0, 512), sinceUnixMs, next, cure };
}

function find(facts: ExplainFacts): Finding {
  const { device } = facts;
  const byEnrolment = explainEnrolment(device, facts.nowUnixMs);
  if (byEnrolment !== undefined) return byEnrolment;
  if (facts.service === 'none') return explainApproval(device);
  if (device.board === NO_SLOTS_BOARD) return explainNoSlots(device);
  const target = findTarget(facts);
  const atWork = target !== undefined && isOpen(target.part.state);
  if (device.state === 'held' && !atWork) {
    const detail = `runs sequence ${device.installed?.sequence ?? 'unknown'}, floor ${device.floorSequence}`;
    return { reason: 'held', detail, sinceUnixMs: device.stateSinceUnixMs };
  }
  if (target !== undefined) return explainGate(target, facts) ?? explainPart(target, device);
  return explainNoTarget(facts);
}

function explainEnrolment(device: DeviceRecord, nowUnixMs: number): Finding | undefined {
  if (device.enrolment === 'revoked')
    return { reason: 'revoked', detail: '', sinceUnixMs: device.enrolmentSinceUnixMs };
  if (device.enrolment === 'enrolled') return undefined;
  const expires = device.claimExpiresUnixMs;
  const expired = expires !== null && expires <= nowUnixMs;
  const date = expires === null ? '' : new Date(expires).toISOString();
  const detail = expires === null ? '' : `its claim ${expired ? 'expired at' : 'is good until'} ${date}`;
  return { reason: 'not-enrolled', detail, sinceUnixMs: device.enrolmentSinceUnixMs };
}

function explainApproval({ credentials }: DeviceRecord): Finding {
  const detail = flagsInWords(credentials?.flags ?? []);
  return { reason: 'awaiting-approval', detail, sinceUnixMs: credentials?.statedUnixMs ?? null };
}

const flagsInWords = (flags: readonly RaisedFlag[]): string =>
  flags.map(({ code, detail }) => `${code}: ${detail}`).join('; ');

function explainNoSlots({ installed, enrolmentSinceUnixMs }: DeviceRecord): Finding {
  const runs = installed === null ? '' : `; runs ${installed.version} (sequence ${installed.sequence})`;
  return {
    reason: 'no-slots',
    detail: `no updates and no rollback: its board is ${NO_SLOTS_BOARD}${runs}`,
    sinceUnixMs: enrolmentSinceUnixMs,
  };
}

/** It waits, its wave is open or not, and it would not be offered the release if it polled. */
function explainGate({ part, purpose, version, sequence }: Candidate, facts: ExplainFacts): Finding | undefined {
  const working = facts.device.actionId === part.actionId;
  if (facts.service === 'work' && part.state === 'waiting' && !serves('work', purpose, working)) {
    const detail = `${version} (sequence ${sequence}), rollout ${part.rolloutId}`;
    return { reason: 'rotation-owed', detail, sinceUnixMs: part.stateSinceUnixMs };
  }
  if (facts.service !== 'repairs' || part.state !== 'waiting' || serves(facts.service, purpose, false))
    return undefined;
  const { credentials, firstBoot } = facts.device;
  const why =
    credentials === null
      ? 'it has stated nothing of its credentials'
      : flagsInWords(credentials.flags) || `its first boot is ${firstBoot?.state ?? 'not known'}`;
  const detail = `${version} (sequence ${sequence}), rollout ${part.rolloutId}, is an ${purpose}: ${why}`;
  return { reason: 'factory-credentials', detail, sinceUnixMs: part.stateSinceUnixMs };
}

/** Undefined: no rollout has anything newer for it than what it runs. */
function findTarget({ device, candidates }: ExplainFacts): Candidate | undefined {
  const living = candidates.filter(
    ({ part, rolloutState }) =>
      isOpen(part.state) ||
      (rolloutState !== 'cancelled' && part.state !== 'superseded' && part.state !== 'called-off'),
  );
  const atWork = living.find(({ part }) => isOpen(part.state) && part.actionId === device.actionId);
  if (atWork !== undefined) return atWork;
  const installed = device.installed?.sequence ?? -1;
  return living
    .filter(({ sequence }) => sequence > installed)
    .sort(
      (a, b) => b.sequence - a.sequence || rank(b) - rank(a) || b.part.stateSinceUnixMs - a.part.stateSinceUnixMs,
    )[0];
}

/** Of two rollouts of one release, the one that still gives something tells more. */
function rank({ part }: Candidate): number {
  if (isOpen(part.state)) return 2;
  return part.state === 'waiting' ? 1 : 0;
}

function explainPart(candidate: Candidate, device: DeviceRecord): Finding {
  const { part, rolloutState } = candidate;
  const about = `${candidate.version} (sequence ${candidate.sequence}), rollout ${part.rolloutId}`;
  const since = part.stateSinceUnixMs;
  const withDetail = part.detail === '' ? about : `${about}: ${part.detail}`;
  const settled = SETTLED_REASONS[part.state];
  if (settled !== undefined) return { reason: settled, detail: withDetail, sinceUnixMs: since };
  const busy = explainByMachine(candidate, device);
  if (busy === 'on-trial') return { reason: busy, detail: about, sinceUnixMs: since };
  if (part.state === 'waiting' && candidate.hardwareClass !== device.hardwareClass) {
    return { reason: 'other-class', detail: about, sinceUnixMs: since };
  }
  if (part.state === 'waiting' && device.channel !== null && candidate.channel !== device.channel) {
    return { reason: 'other-channel', detail: `${about}; it follows ${device.channel}`, sinceUnixMs: since };
  }
  if (rolloutState === 'halted') return { reason: 'rollout-halted', detail: about, sinceUnixMs: since };
  if (device.waiting !== null && device.actionId === part.actionId) {
    return { reason: device.waiting, detail: about, sinceUnixMs: device.waitingSinceUnixMs };
  }
  if (part.state === 'waiting' || part.state === 'offered') {
    if (rolloutState === 'paused') return { reason: 'rollout-paused', detail: about, sinceUnixMs: since };
  }
  if (part.state === 'waiting') {
    if (part.openUnixMs !== null) return { reason: 'not-seen', detail: about, sinceUnixMs: part.openUnixMs };
    return { reason: 'waiting-for-wave', detail: `wave ${part.wave + 1} of ${about}`, sinceUnixMs: since };
  }
  return { reason: busy, detail: busy === 'install-failed' ? withDetail : about, sinceUnixMs: since };
}

const SETTLED_REASONS: Partial<Record<PartState, Reason>> = {
  'rolled-back': 'rolled-back',
  refused: 'release-refused',
  'install-failed': 'install-failed',
  silent: 'silent-after-reboot',
  'deadline-passed': 'deadline-passed',
  // Confirmed, and yet it runs something older: it was reset or went back by hand, and its rollout is done with it.
  confirmed: 'no-rollout',
};

/** How far the install machine is. */
function explainByMachine({ part }: Candidate, device: DeviceRecord): Reason {
  const own = device.actionId === part.actionId;
  if (part.state === 'trial') return own && device.state === 'armed' ? 'waiting-for-reboot' : 'on-trial';
  if (part.state === 'staged') return 'waiting-for-reboot';
  return part.state === 'installing' && part.detail !== '' ? 'install-failed' : 'installing';
}

/** Nothing newer is meant for it: it is where it should be, or nobody said where that is. */
function explainNoTarget({ device, candidates, exclusions }: ExplainFacts): Finding {
  const installed = device.installed;
  const excluded = exclusions
    .filter(({ sequence }) => sequence > (installed?.sequence ?? -1))
    .sort((a, b) => b.sequence - a.sequence)[0];
  if (excluded !== undefined) {
    return {
      reason: excluded.why,
      detail: `${excluded.detail}, rollout ${excluded.rolloutId}`,
      sinceUnixMs: excluded.sinceUnixMs,
    };
  }
  const runs =
    installed === null ? 'it has not polled yet' : `runs ${installed.version} (sequence ${installed.sequence})`;
  const given = candidates.some(({ sequence }) => sequence === installed?.sequence);
  const reason = given ? 'on-target' : 'no-rollout';
  return { reason, detail: runs, sinceUnixMs: device.installedSinceUnixMs ?? device.enrolmentSinceUnixMs };
}
