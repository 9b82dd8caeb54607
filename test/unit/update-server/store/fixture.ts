/** A real database in a folder of its own, and a fleet that polls and reports as agents do. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RotationStatement } from '../../../../protocol/credentials.ts';
import type { PollRequest, ReportEvent } from '../../../../protocol/device-api.ts';
import type { ReleaseView, RolloutRequest } from '../../../../protocol/operator-api.ts';
import { type CredentialPolicy, USUAL_POLICY } from '../../../../update-server/core/credential-standing.ts';
import type { ReportOutcome, Store } from '../../../../update-server/core/ports.ts';
import { openSqliteStore } from '../../../../update-server/store/sqlite-store.ts';

export const START_UNIX_MS = Date.UTC(2026, 0, 1);
export const MINUTE_MS = 60_000;

export interface Lab {
  store: Store;
  readonly path: string;
  nowUnixMs: number;
  close(): Promise<void>;
  /** As after a kill: the process is gone, the file is what it is. */
  reopen(): Promise<void>;
}

/** Whose devices make no statements: only the tests of the gate have any. */
const REPORT_POLICY: CredentialPolicy = { ...USUAL_POLICY, gate: 'report' };

export function openLab(policy: CredentialPolicy = REPORT_POLICY): Lab {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-store-'));
  const path = join(directory, 'db.sqlite');
  return {
    store: openSqliteStore(path, policy),
    path,
    nowUnixMs: START_UNIX_MS,
    async close() {
      await this.store.close();
      rmSync(directory, { recursive: true, force: true });
    },
    async reopen() {
      await this.store.close();
      this.store = openSqliteStore(path, policy);
    },
  };
}

const keyOf = (deviceId: string): string => Buffer.from(deviceId).toString('hex').padEnd(64, '0').slice(0, 64);

export async function claim(lab: Lab, ids: readonly string[], hardwareClass = 'acme-cam'): Promise<void> {
  const made = await lab.store.createClaims({
    hardwareClass,
    claims: ids.map((claimId) => ({ claimId, sealedSecret: Uint8Array.of(1, 2, 3) })),
    expiresUnixMs: lab.nowUnixMs + 1000 * MINUTE_MS,
    actor: 'tester',
    nowUnixMs: lab.nowUnixMs,
  });
  if (made.outcome !== 'created') throw new Error(`ids taken: ${made.ids.join()}`);
}

export function certificate(deviceId: string, key = keyOf(deviceId)) {
  return {
    serial: `00${key.slice(0, 20)}`,
    fingerprintSha256: key,
    keySha256: key,
    chainPem: `certificate of ${deviceId}`,
    notAfterUnixMs: START_UNIX_MS + 365 * 24 * 60 * MINUTE_MS,
  };
}

/** A device that remembers its report sequence, as an agent does. */
export class Device {
  readonly id: string;
  readonly lab: Lab;
  sequence = 0;
  state: PollRequest['state'] = 'idle';
  installed = { sequence: 1, version: '1.0.0' };
  slot: 'a' | 'b' = 'a';
  actionId: string | null = null;
  channel = 'stable';
  board = 'emulated';
  quarantined: { sequence: number; reason: string }[] = [];
  waiting: PollRequest['waiting'] = null;
  protocol = 1;
  firstBoot: PollRequest['firstBoot'] = undefined;

  constructor(lab: Lab, id: string) {
    this.lab = lab;
    this.id = id;
  }

  request(): PollRequest {
    return {
      protocol: this.protocol,
      agentVersion: '0.1.0',
      hardwareClass: 'acme-cam',
      channel: this.channel,
      board: this.board,
      bootedSlot: this.slot,
      state: this.state,
      stateSinceUnixMs: null,
      installed: this.installed,
      floorSequence: 0,
      actionId: this.actionId,
      quarantined: this.quarantined,
      waiting: this.waiting,
      ...(this.firstBoot === undefined ? {} : { firstBoot: this.firstBoot }),
    };
  }

  async poll() {
    const { action } = await this.ask();
    return action;
  }

  /** The whole answer. */
  ask() {
    return this.lab.store.recordPoll(this.id, this.request(), this.lab.nowUnixMs);
  }

  /** States its credentials as the device API would hand them on, signature and nonce found good. */
  async testify(statement: RotationStatement) {
    this.protocol = 3;
    this.firstBoot = { state: statement.state, epoch: statement.epoch };
    const bytes = new Uint8Array(Buffer.from(JSON.stringify(statement)));
    const found = { bytes, signature: bytes.subarray(0, 64), keySha256: keyOf(this.id) };
    const given = { deviceId: this.id, statement, ...found, nonceFresh: true, signatureValid: true };
    return this.lab.store.recordStatement(given, this.lab.nowUnixMs);
  }

  async report(...events: ReportEvent[]): Promise<ReportOutcome> {
    const reports = events.map((event) => {
      this.sequence += 1;
      return { reportSequence: this.sequence, bootId: 'boot-1', atUnixMs: this.lab.nowUnixMs, event };
    });
    return this.lab.store.acceptReports(this.id, reports, this.lab.nowUnixMs);
  }

  async enter(state: PollRequest['state']): Promise<void> {
    this.state = state;
    await this.report({ kind: 'state', state, actionId: this.actionId });
  }

  /** Takes what it is offered. */
  async accept() {
    const action = await this.poll();
    this.actionId = action?.actionId ?? null;
    return action;
  }

  async confirm(sequence: number, version: string): Promise<ReportOutcome> {
    this.slot = this.slot === 'a' ? 'b' : 'a';
    const outcome = await this.report({
      kind: 'confirmed',
      actionId: this.actionId,
      sequence,
      slot: this.slot,
      version,
    });
    this.installed = { sequence, version };
    this.state = 'idle';
    this.actionId = null;
    return outcome;
  }

  async rollBack(sequence: number, reason = 'health-check-failed'): Promise<ReportOutcome> {
    const outcome = await this.report({
      kind: 'rolled-back',
      actionId: this.actionId,
      sequence,
      reason,
      quarantined: true,
      detail: '10-app',
    });
    this.quarantined.push({ sequence, reason });
    this.state = 'idle';
    this.actionId = null;
    return outcome;
  }
}

/** Enrolled devices that have polled once. */
export async function enrolFleet(lab: Lab, count: number): Promise<Map<string, Device>> {
  const ids = Array.from({ length: count }, (_, index) => `cam-${String(index + 1).padStart(4, '0')}`);
  await claim(lab, ids);
  const fleet = new Map<string, Device>();
  for (const id of ids) {
    await lab.store.enrolDevice({ claimId: id, certificate: certificate(id), nowUnixMs: lab.nowUnixMs });
    await lab.store.markCertificateUsed(certificate(id).fingerprintSha256, lab.nowUnixMs);
    const device = new Device(lab, id);
    await device.poll();
    fleet.set(id, device);
  }
  return fleet;
}

export function release(sequence: number, more: Partial<ReleaseView> = {}): Omit<ReleaseView, 'publishedUnixMs'> {
  return {
    releasePath: `releases/acme-cam/stable/${sequence}/release.suit`,
    hardwareClass: 'acme-cam',
    channel: 'stable',
    version: `${sequence}.0.0`,
    sequence,
    floorSequence: 0,
    images: [{ component: 'rootfs', sizeBytes: 1024, sha256: 'a'.repeat(64) }],
    ...more,
  };
}

export async function publish(lab: Lab, ...releases: Omit<ReleaseView, 'publishedUnixMs'>[]): Promise<void> {
  const publication = { targetsVersion: releases.length + 1, releases, actor: 'tester', nowUnixMs: lab.nowUnixMs };
  await lab.store.recordPublication(publication);
}

export function order(sequence: number, more: Partial<RolloutRequest> = {}): RolloutRequest {
  return {
    releasePath: `releases/acme-cam/stable/${sequence}/release.suit`,
    waves: [{ devices: 1 }, { percent: 25 }, { percent: 100 }],
    maxFailedPercent: 20,
    minSample: 3,
    actionTimeoutMs: 10 * MINUTE_MS,
    ...more,
  };
}

export async function start(lab: Lab, sequence: number, more: Partial<RolloutRequest> = {}): Promise<string> {
  const outcome = await lab.store.startRollout(order(sequence, more), 'tester', lab.nowUnixMs);
  if (outcome.outcome !== 'started') throw new Error(outcome.outcome);
  return outcome.rolloutId;
}

export async function view(lab: Lab, rolloutId: string) {
  const found = await lab.store.findRollout(rolloutId, lab.nowUnixMs);
  if (found === undefined) throw new Error(`no rollout ${rolloutId}`);
  return found;
}

export async function reasonOf(lab: Lab, deviceId: string) {
  const found = await lab.store.findDevice(deviceId, { nowUnixMs: lab.nowUnixMs, onlineWindowMs: MINUTE_MS });
  if (found === undefined) throw new Error(`no device ${deviceId}`);
  return found.explanation;
}

/** Polls the whole fleet; returns the devices that were offered something. */
export async function pollAll(fleet: Map<string, Device>): Promise<Device[]> {
  const offered: Device[] = [];
  for (const device of fleet.values()) {
    if ((await device.accept()) !== null) offered.push(device);
  }
  return offered;
}
