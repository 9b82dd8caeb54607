/** The poll path: prepared statements only. Runs within the caller's transaction. */
import { NO_SLOTS_BOARD, type PollRequest } from '../../protocol/device-api.ts';
import type { Wave } from '../../protocol/operator-api.ts';
import { joinsLate } from '../core/cohort.ts';
import {
  type CredentialPolicy,
  decideRequests,
  type RequestFacts,
  serviceFor,
  standingOf,
} from '../core/credential-standing.ts';
import { decideOffer } from '../core/offer.ts';
import type { PollOutcome } from '../core/ports.ts';
import type { Sqlite } from './database.ts';
import { addDeviceEvent } from './device-events.ts';
import { type DeviceRow, deviceOf, findDeviceRow } from './device-rows.ts';
import { candidatesOf, isSettled, PartChanges, rolloutName, rolloutNumber } from './parts.ts';
import { advanceRollout, waveRows } from './rollout-advance.ts';
import { touchedBy } from './rollouts.ts';
import { askForRotation } from './rotation-parts.ts';
import { advanceRotation } from './rotations.ts';

const UPDATE = `
  UPDATE devices SET channel = ?, agent_version = ?, board = ?, booted_slot = ?, state = ?, state_since_unix_ms = ?,
    installed_sequence = ?, installed_version = ?, installed_since_unix_ms = ?, floor_sequence = ?, action_id = ?,
    waiting = ?, waiting_since_unix_ms = ?, quarantined = ?, last_seen_unix_ms = ?, protocol = ?, first_boot_state = ?,
    first_boot_epoch = ?
  WHERE device_id = ?`;

export function recordPoll(
  db: Sqlite,
  deviceId: string,
  poll: PollRequest,
  policy: CredentialPolicy,
  nowUnixMs: number,
): PollOutcome {
  const row = findDeviceRow(db, deviceId);
  if (row === undefined || row.enrolment !== 'enrolled') {
    return { action: null, requests: [], touched: { devices: [], rollouts: [], hints: [] } };
  }
  const changed = writePoll(db, row, poll, nowUnixMs);
  const changes = new PartChanges(db, nowUnixMs);
  joinLate(db, row, poll, changes, nowUnixMs);
  const candidates = candidatesOf(db, deviceId);
  const record = deviceOf(row).credentials;
  const standing = standingOf(record, poll.firstBoot ?? null);
  const due = askForRotation(db, deviceId, poll.firstBoot ?? null, nowUnixMs);
  const service = serviceFor(standing, policy.gate, due.fromEpoch !== null);
  const decision = decideOffer(poll, row.hardware_class, service, candidates, nowUnixMs);
  const parts = new Map(candidates.map((candidate) => [candidate.part.actionId, candidate.part]));
  const settled = new Set<string>();
  for (const { actionId, event } of decision.events) {
    const part = parts.get(actionId);
    if (part === undefined) continue;
    const next = changes.apply(part, event);
    parts.set(actionId, next);
    if (next !== part && event.kind === 'offered')
      addDeviceEvent(db, deviceId, nowUnixMs, 'offered', offered(next.rolloutId, decision.offer));
    if (next !== part && isSettled(next.state)) settled.add(next.rolloutId);
  }
  const hints = new Set<string>();
  for (const rotation of due.settled) advanceRotation(db, rotation, hints, nowUnixMs);
  for (const rolloutId of settled) advanceRollout(db, rolloutNumber(rolloutId) ?? 0, changes, hints, nowUnixMs);
  return {
    action: actionOf(decision.offer, parts),
    requests: requestsFor(db, poll, { deviceId, record, standing, rotateFromEpoch: due.fromEpoch }, nowUnixMs),
    touched: touchedBy(changes, hints, changed ? [deviceId] : []),
  };
}

const CERTIFICATE = `
  SELECT issued_unix_ms AS issuedUnixMs, not_after_unix_ms AS notAfterUnixMs, first_used_unix_ms IS NULL AS unused
  FROM certificates
  WHERE device_id = ? AND revoked_unix_ms IS NULL AND superseded_unix_ms IS NULL ORDER BY issued_unix_ms DESC, rowid DESC LIMIT 1`;

function requestsFor(
  db: Sqlite,
  poll: PollRequest,
  { deviceId, ...known }: Pick<RequestFacts, 'record' | 'standing' | 'rotateFromEpoch'> & { readonly deviceId: string },
  nowUnixMs: number,
): PollOutcome['requests'] {
  if (poll.protocol < 3) return [];
  type Certificate = Omit<NonNullable<RequestFacts['certificate']>, 'unused'> & { readonly unused: number };
  const certificate = db.prepare<Certificate>(CERTIFICATE).get(deviceId);
  return decideRequests({
    protocol: poll.protocol,
    said: poll.firstBoot ?? null,
    certificate: certificate === undefined ? null : { ...certificate, unused: certificate.unused === 1 },
    ...known,
    nowUnixMs,
  });
}

type Offer = ReturnType<typeof decideOffer>['offer'];

function offered(rolloutId: string, offer: Offer): string {
  return `offered ${offer?.version ?? ''} (sequence ${offer?.sequence ?? 0}), rollout ${rolloutId}`;
}

function actionOf(
  offer: Offer,
  parts: ReadonlyMap<string, { readonly deadlineUnixMs: number | null }>,
): PollOutcome['action'] {
  if (offer === undefined) return null;
  return {
    actionId: offer.part.actionId,
    rolloutId: offer.part.rolloutId,
    releasePath: offer.releasePath,
    sequence: offer.sequence,
    version: offer.version,
    deadlineUnixMs: parts.get(offer.part.actionId)?.deadlineUnixMs ?? 0,
  };
}

/** True when something changed that a view shows. */
function writePoll(db: Sqlite, row: DeviceRow, poll: PollRequest, nowUnixMs: number): boolean {
  const sameInstalled = row.installed_sequence === poll.installed.sequence;
  const sameState = row.state === poll.state;
  const quarantined = JSON.stringify(poll.quarantined);
  db.prepare(UPDATE).run(
    poll.channel,
    poll.agentVersion,
    poll.board,
    poll.bootedSlot,
    poll.state,
    sameState ? (row.state_since_unix_ms ?? nowUnixMs) : Math.min(poll.stateSinceUnixMs ?? nowUnixMs, nowUnixMs),
    poll.installed.sequence,
    poll.installed.version,
    sameInstalled ? (row.installed_since_unix_ms ?? nowUnixMs) : nowUnixMs,
    poll.floorSequence,
    poll.actionId,
    poll.waiting,
    row.waiting === poll.waiting ? row.waiting_since_unix_ms : nowUnixMs,
    quarantined,
    nowUnixMs,
    poll.protocol,
    poll.firstBoot?.state ?? null,
    poll.firstBoot?.epoch ?? null,
    row.device_id,
  );
  return !(
    sameInstalled &&
    sameState &&
    row.installed_version === poll.installed.version &&
    row.booted_slot === poll.bootedSlot &&
    row.channel === poll.channel &&
    row.agent_version === poll.agentVersion &&
    row.board === poll.board &&
    row.floor_sequence === poll.floorSequence &&
    row.action_id === poll.actionId &&
    row.waiting === poll.waiting &&
    row.first_boot_state === (poll.firstBoot?.state ?? null) &&
    row.first_boot_epoch === (poll.firstBoot?.epoch ?? null) &&
    row.quarantined === quarantined
  );
}

const JOINABLE = `
  SELECT rollouts.id FROM rollouts JOIN releases ON releases.release_path = rollouts.release_path
  WHERE rollouts.whole_class = 1 AND rollouts.state <> 'cancelled' AND releases.withdrawn = 0
    AND releases.hardware_class = ? AND releases.channel = ? AND releases.sequence > ?
    AND NOT EXISTS (SELECT 1 FROM parts WHERE parts.rollout = rollouts.id AND parts.device_id = ?)`;
const JOIN = `
  INSERT INTO parts (rollout, device_id, place_rank, wave, state, state_since_unix_ms, open_unix_ms)
  VALUES (@rollout, @deviceId, (SELECT coalesce(max(place_rank), -1) + 1 FROM parts WHERE rollout = @rollout),
    @wave, 'waiting', @nowUnixMs, @openUnixMs)`;

/** A device that came after the start joins the last wave of the rollouts of its class and channel, if it has slots. */
function joinLate(db: Sqlite, row: DeviceRow, poll: PollRequest, changes: PartChanges, nowUnixMs: number): void {
  if (poll.board === NO_SLOTS_BOARD) return;
  const joinable = db
    .prepare<{ id: number }>(JOINABLE)
    .all(row.hardware_class, poll.channel, poll.installed.sequence, row.device_id);
  for (const { id } of joinable) {
    const waves = waveRows(db, id);
    const plan = waves.map((wave) => JSON.parse(wave.wave) as Wave);
    if (!joinsLate(rolloutName(id), row.device_id, plan)) continue;
    const opened = waves.at(-1)?.opened_unix_ms ?? null;
    db.prepare(JOIN).run({
      rollout: id,
      deviceId: row.device_id,
      wave: plan.length - 1,
      nowUnixMs,
      openUnixMs: opened === null ? null : nowUnixMs,
    });
    changes.rollouts.add(rolloutName(id));
    changes.devices.add(row.device_id);
  }
}
