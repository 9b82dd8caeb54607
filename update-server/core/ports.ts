/**
 * What the server needs of the world. Each method of `Store` is one transaction that happens whole or not at all, also
 * when the process is killed in the middle; once it returned, a power cut does not undo it. The methods are async so
 * that a database on the network fits behind them. Times come in as arguments: a store reads no clock, and draws no
 * random number. Refusals that a person or device can meet are values (`outcome`), everything thrown is a Fault or a bug.
 */

import type { RotationStatement } from '../../protocol/credentials.ts';
import type { StatementVerdict } from '../../protocol/credentials-api.ts';
import type {
  Installed,
  InstallState,
  PollAnswer,
  PollRequest,
  Report,
  Slot,
  WaitReason,
} from '../../protocol/device-api.ts';
import type { StatusMessage } from '../../protocol/mqtt-topics.ts';
import type {
  ApproveRequest,
  AuditEntry,
  CredentialsAnswer,
  DeviceDetail,
  EscrowBlobAnswer,
  EscrowOutstandingAnswer,
  EscrowReleaseView,
  PublishAnswer,
  PublishRequest,
  ReleaseView,
  Role,
  RolloutRequest,
  RolloutVerb,
  RolloutView,
  RotationDetail,
  RotationRequest,
  RotationView,
  TokenView,
} from '../../protocol/operator-api.ts';
import type { CredentialRecord, FirstBootWord, Service } from './credential-standing.ts';
import type { RaisedFlag, StatementRefusal } from './credentials.ts';
import type { TransportFacts } from './transport-plan.ts';

/** Who did it, for the audit: a token's name, `server`, or `device:<id>`. */
export type Actor = string;

export interface ServerClock {
  nowUnixMs(): number;
}

export interface ServerRandom {
  bytes(length: number): Uint8Array;
}

// --- enrolment ---------------------------------------------------------------------------------------------------

export interface NewClaim {
  readonly claimId: string;
  /** The secret as the sealing key sealed it; the store never sees it open. */
  readonly sealedSecret: Uint8Array;
}

export interface ClaimRecord {
  readonly claimId: string;
  readonly hardwareClass: string;
  readonly sealedSecret: Uint8Array;
  readonly expiresUnixMs: number;
  /** SHA-256 (hex) of the public key (SPKI, DER) that used this claim; null while nobody has. */
  readonly usedByKeySha256: string | null;
}

export interface NewCertificate {
  /** Serial number, lower-case hex without separators. */
  readonly serial: string;
  /** SHA-256 of the certificate in DER, hex. */
  readonly fingerprintSha256: string;
  /** SHA-256 of the public key (SPKI, DER), hex. */
  readonly keySha256: string;
  /** PEM, leaf first: given again as it stands to the same key. */
  readonly chainPem: string;
  readonly notAfterUnixMs: number;
}

export type EnrolOutcome =
  /** Now enrolled; `chainPem` is the certificate that came with the call. `replaced`: the former key is refused now. */
  | { readonly outcome: 'enrolled'; readonly deviceId: string; readonly chainPem: string; readonly replaced: boolean }
  /** The same key had enrolled before: its first certificate again. The new one is forgotten. */
  | { readonly outcome: 'same-key'; readonly deviceId: string; readonly chainPem: string }
  /** Another key holds this claim, and no person has approved this one. The audit has an alarm. */
  | { readonly outcome: 'other-key' }
  /** One key on two devices: a cloned card. The audit has an alarm. */
  | { readonly outcome: 'key-of-other-device'; readonly deviceId: string }
  | { readonly outcome: 'nonce-refused' }
  | { readonly outcome: 'claim-unknown' }
  | { readonly outcome: 'claim-expired' }
  | { readonly outcome: 'revoked' };

export interface CertificateRecord {
  readonly deviceId: string;
  readonly serial: string;
  readonly fingerprintSha256: string;
  readonly notAfterUnixMs: number;
  readonly revoked: boolean;
  /** Nobody has come with it yet. */
  readonly unused: boolean;
  /** Refused from then on: a newer one took its place. Null: none has. */
  readonly supersededUnixMs: number | null;
}

export type RenewOutcome =
  | { readonly outcome: 'renewed'; readonly chainPem: string }
  /** This key has an unused certificate already (an answer can get lost): that one again. */
  | { readonly outcome: 'same-key'; readonly chainPem: string }
  /** One key on two devices. The audit has an alarm. */
  | { readonly outcome: 'key-of-other-device'; readonly deviceId: string };

// --- devices -----------------------------------------------------------------------------------------------------

/** What the server knows of a device. Null: not heard yet. */
export interface DeviceRecord {
  readonly deviceId: string;
  readonly hardwareClass: string;
  readonly enrolment: 'claimed' | 'enrolled' | 'revoked';
  readonly enrolmentSinceUnixMs: number;
  readonly claimExpiresUnixMs: number | null;
  readonly channel: string | null;
  readonly agentVersion: string | null;
  /** The kind of its board. */
  readonly board: string | null;
  readonly bootedSlot: Slot | null;
  readonly state: InstallState | null;
  readonly stateSinceUnixMs: number | null;
  readonly installed: Installed | null;
  readonly installedSinceUnixMs: number | null;
  readonly floorSequence: number;
  readonly actionId: string | null;
  /** What it said at its last poll that it waits for; null when it gets on. */
  readonly waiting: WaitReason | null;
  readonly waitingSinceUnixMs: number | null;
  readonly quarantined: readonly { readonly sequence: number; readonly reason: string }[];
  readonly lastSeenUnixMs: number | null;
  readonly presence: 'here' | 'gone' | null;
  readonly presenceUnixMs: number | null;
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** Every report up to and including this number is stored. */
  readonly acknowledgedReport: number;
  /** Protocol version of its last poll. */
  readonly protocol: number | null;
  /** Of its last poll; null for agents without a first boot. */
  readonly firstBoot: FirstBootWord | null;
  /** Null: it has stated nothing of its credentials yet. */
  readonly credentials: CredentialRecord | null;
}

// --- credentials -------------------------------------------------------------------------------------------------

/** A statement as it came, with what the caller found of its bytes. */
export interface GivenStatement {
  /** Whose certificate it came with. */
  readonly deviceId: string;
  readonly statement: RotationStatement;
  readonly bytes: Uint8Array;
  readonly signature: Uint8Array;
  /** SHA-256 of the key that the signature was checked with, hex. */
  readonly keySha256: string;
  readonly nonceFresh: boolean;
  readonly signatureValid: boolean;
}

export interface GivenEscrow {
  readonly deviceId: string;
  readonly epoch: number;
  /** Of `blob`; the caller has checked it. */
  readonly sha256: string;
  readonly owners: readonly string[];
  readonly blob: Uint8Array;
}

/** `other-bytes`: another blob is kept for this epoch; it stays, and the device is flagged. */
export type EscrowOutcome = 'kept' | 'same' | 'other-bytes' | 'epoch-went-back';

export type ReleaseOutcome =
  | { readonly outcome: 'done'; readonly request: EscrowReleaseView }
  | { readonly outcome: 'device-unknown' | 'no-blob' | 'request-unknown' | 'approved-before' | 'same-person' };

export type FetchOutcome =
  | { readonly outcome: 'given'; readonly answer: EscrowBlobAnswer; readonly touched: Touched }
  | { readonly outcome: 'request-unknown' | 'not-approved' | 'approval-expired' | 'not-who-asked' };

export type StartRotationOutcome =
  | { readonly outcome: 'started'; readonly rotationId: string; readonly touched: Touched }
  /** No device of those named is enrolled with an agent that can rotate. */
  | { readonly outcome: 'no-devices' }
  | { readonly outcome: 'devices-unknown'; readonly deviceIds: readonly string[] };

export type StatementOutcome =
  | { readonly outcome: 'refused'; readonly code: StatementRefusal; readonly touched: readonly string[] }
  | {
      readonly outcome: 'judged';
      readonly verdict: StatementVerdict;
      readonly flags: readonly RaisedFlag[];
      /** Devices of which a view shows something else now: a twin is flagged too. */
      readonly touched: readonly string[];
      /** Devices whose turn to rotate has come with this. */
      readonly hints: readonly string[];
    };

/** A device's part in a rollout. `waiting` to `trial` are open, the others are settled. */
export const PART_STATES = [
  /** Not offered yet: its wave is closed, or it has not polled since the wave opened. */
  'waiting',
  /** The action was in an answer to its poll. */
  'offered',
  /** The device said that it works on it: fetching, checking, writing. */
  'installing',
  /** Written and verified; a reboot is owed. */
  'staged',
  /** Rebooting, or running the new image on trial. */
  'trial',
  /** The only success: the new image says that it booted and passed its checks. */
  'confirmed',
  'rolled-back',
  'refused',
  /** Deadline passed while fetching or writing kept failing. */
  'install-failed',
  /** Deadline passed after the reboot. */
  'silent',
  /** Deadline passed before any of the above. */
  'deadline-passed',
  /** It runs something newer by now, or a newer release took over. Neither success nor failure. */
  'superseded',
  /** The rollout was cancelled before this device was done. Neither success nor failure. */
  'called-off',
] as const;
export type PartState = (typeof PART_STATES)[number];

/** One device in one rollout. */
export interface Part {
  readonly actionId: string;
  readonly rolloutId: string;
  readonly deviceId: string;
  /** Order in the cohort: 0 is first. */
  readonly rank: number;
  /** Index of the wave that added it. */
  readonly wave: number;
  readonly state: PartState;
  readonly stateSinceUnixMs: number;
  /** Since when its wave is open for it; null before. */
  readonly openUnixMs: number | null;
  readonly offeredUnixMs: number | null;
  readonly deadlineUnixMs: number | null;
  /** The device showed that it works on it, or the deadline passed after the offer. */
  readonly attempted: boolean;
  /** Failure looked at by a person who resumed: shown, and no longer counted by the gate. */
  readonly forgiven: boolean;
  /** Refusal code, rollback reason or failure code, with detail. */
  readonly detail: string;
}

// --- operators ---------------------------------------------------------------------------------------------------

export interface TokenRecord {
  readonly tokenId: string;
  readonly name: string;
  readonly role: Role;
  /** SHA-256 of the token's text, hex. */
  readonly tokenSha256: string;
  readonly kind: 'lasting' | 'one-time';
  readonly createdUnixMs: number;
  readonly expiresUnixMs: number | null;
  readonly lastUsedUnixMs: number | null;
  readonly revoked: boolean;
}

export interface NewToken {
  readonly tokenId: string;
  readonly name: string;
  readonly role: Role;
  readonly tokenSha256: string;
  readonly kind: 'lasting' | 'one-time';
  readonly expiresUnixMs: number | null;
}

export interface NewAuditEntry {
  readonly actor: Actor;
  readonly action: string;
  readonly subject: string;
  readonly detail: string;
}

/** What changed, so that the caller can tell the listeners. */
export interface Touched {
  readonly devices: readonly string[];
  readonly rollouts: readonly string[];
  /** Devices that have something to fetch now. */
  readonly hints: readonly string[];
}

export type StartOutcome =
  | { readonly outcome: 'started'; readonly rolloutId: string; readonly touched: Touched }
  | { readonly outcome: 'release-unknown' }
  /** No device of this class and channel runs anything older. */
  | { readonly outcome: 'no-devices' }
  | { readonly outcome: 'devices-unknown'; readonly deviceIds: readonly string[] };

export type VerbOutcome =
  | { readonly outcome: 'done'; readonly touched: Touched }
  | { readonly outcome: 'rollout-unknown' }
  | { readonly outcome: 'not-in-this-state'; readonly state: RolloutView['state'] };

export interface PollOutcome {
  readonly action: PollAnswer['action'];
  readonly requests: PollAnswer['requests'];
  readonly touched: Touched;
}

export interface ReportOutcome {
  /** Every report up to and including this number is stored. */
  readonly acknowledged: number;
  readonly touched: Touched;
}

/** How to read the facts for a view. */
export interface ViewSettings {
  readonly nowUnixMs: number;
  /** A device without MQTT counts as online this long after it was last heard. */
  readonly onlineWindowMs: number;
}

export interface Store {
  // enrolment
  /** Refuses ids that exist, unless their device was revoked: then the new claim takes the id over. Audited. */
  createClaims(request: {
    readonly hardwareClass: string;
    readonly claims: readonly NewClaim[];
    readonly expiresUnixMs: number;
    readonly actor: Actor;
    readonly nowUnixMs: number;
  }): Promise<{ readonly outcome: 'created' } | { readonly outcome: 'ids-taken'; readonly ids: readonly string[] }>;
  findClaim(claimId: string): Promise<ClaimRecord | undefined>;
  /** Keeps a nonce (base64url) for one use. At most 16 live ones for a claim: the oldest gives way. */
  keepNonce(nonce: {
    readonly nonce: string;
    readonly claimId: string;
    readonly expiresUnixMs: number;
    readonly nowUnixMs: number;
  }): Promise<void>;
  /** Uses a nonce up, whatever comes of it. False: unknown, used, expired, or given out for another claim. */
  takeNonce(nonce: string, claimId: string, nowUnixMs: number): Promise<boolean>;
  /** Call after the nonce was taken and the proof verified. Binds claim, key, certificate and device in one step. Audited. */
  enrolDevice(request: {
    readonly claimId: string;
    readonly certificate: NewCertificate;
    readonly nowUnixMs: number;
  }): Promise<EnrolOutcome>;
  /** For the check at every request: by SHA-256 of the DER, hex. */
  findCertificate(fingerprintSha256: string): Promise<CertificateRecord | undefined>;
  /** Its certificates are refused from now on, and its claim is dead. False: no such device. Audited. */
  revokeDevice(deviceId: string, actor: Actor, why: string, nowUnixMs: number): Promise<boolean>;

  // what devices say
  /** Keeps what the device says and decides what it is offered (core/offer.ts), in one step. */
  recordPoll(deviceId: string, poll: PollRequest, nowUnixMs: number): Promise<PollOutcome>;
  /** Keeps reports once each, applies them, and moves rollouts on or halts them, in one step. */
  acceptReports(deviceId: string, reports: readonly Report[], nowUnixMs: number): Promise<ReportOutcome>;
  /** Judges a statement of credentials (core/credentials.ts) and keeps it, in one step. Flags are audited. */
  recordStatement(given: GivenStatement, nowUnixMs: number): Promise<StatementOutcome>;
  /** What a device may be given (core/credential-standing.ts). `all` for one that is not there. */
  serviceOf(deviceId: string): Promise<Service>;
  /** A person says that the board which the device states, or the key that came with its claim, is right. Audited. */
  approveDevice(
    approval: ApproveRequest & { readonly deviceId: string },
    actor: Actor,
    nowUnixMs: number,
  ): Promise<'approved' | 'device-unknown' | 'nothing-to-approve' | 'says-otherwise'>;

  // escrow: sealed blobs that this server cannot read
  keepEscrow(given: GivenEscrow, nowUnixMs: number): Promise<EscrowOutcome>;
  /** Asks for the newest blob of a device. Audited, as are the next two. */
  requestEscrow(deviceId: string, reason: string, actor: Actor, nowUnixMs: number): Promise<ReleaseOutcome>;
  /** By another person than the one who asked, once two people may approve. */
  approveEscrow(requestId: string, actor: Actor, nowUnixMs: number): Promise<ReleaseOutcome>;
  /** To who asked, for a day after the approval; the first time, the device's rotation is started too. */
  fetchEscrow(requestId: string, actor: Actor, nowUnixMs: number): Promise<FetchOutcome>;
  listEscrowRequests(): Promise<readonly EscrowReleaseView[]>;
  /** Devices whose newest blob this owner's key opens. */
  escrowOutstanding(owner: string): Promise<EscrowOutstandingAnswer['devices']>;

  // rotations
  startRotation(request: RotationRequest, actor: Actor, nowUnixMs: number): Promise<StartRotationOutcome>;
  commandRotation(rotationId: string, verb: RolloutVerb, actor: Actor, nowUnixMs: number): Promise<VerbOutcome>;
  listRotations(nowUnixMs: number): Promise<readonly RotationView[]>;
  findRotation(rotationId: string, nowUnixMs: number): Promise<RotationDetail | undefined>;
  /** A certificate beside the one in use, which stays good until this one is first used, or until `graceMs` is over. */
  renewCertificate(request: {
    readonly deviceId: string;
    readonly certificate: NewCertificate;
    readonly graceMs: number;
    readonly nowUnixMs: number;
  }): Promise<RenewOutcome>;
  /** Its first use: every older certificate of the device is refused from now on. Audited. */
  markCertificateUsed(fingerprintSha256: string, nowUnixMs: number): Promise<void>;
  /** Undefined: no such device. */
  hardwareClassOf(deviceId: string): Promise<string | undefined>;
  recordPresence(deviceId: string, presence: 'here' | 'gone', nowUnixMs: number): Promise<void>;
  /** Telemetry of the fast path: shown, never decided on. */
  recordStatus(deviceId: string, status: StatusMessage, nowUnixMs: number): Promise<void>;
  /** At start: no MQTT session outlives the process. */
  forgetPresence(nowUnixMs: number): Promise<void>;

  // releases
  /** What the new targets metadata lists; a release it no longer lists is not offered any more. Audited. */
  recordPublication(publication: {
    readonly targetsVersion: number;
    readonly releases: readonly Omit<ReleaseView, 'publishedUnixMs'>[];
    readonly actor: Actor;
    readonly nowUnixMs: number;
  }): Promise<{ readonly releases: readonly ReleaseView[] }>;
  listReleases(): Promise<readonly ReleaseView[]>;
  findRelease(releasePath: string): Promise<ReleaseView | undefined>;
  /** Everything that was ever published, and what devices run. */
  transportFacts(): Promise<TransportFacts>;

  // rollouts
  startRollout(request: RolloutRequest, actor: Actor, nowUnixMs: number): Promise<StartOutcome>;
  commandRollout(rolloutId: string, verb: RolloutVerb, actor: Actor, nowUnixMs: number): Promise<VerbOutcome>;
  /** Deadlines, soak times and gates of every rollout and rotation that is not at its end. */
  advanceRollouts(nowUnixMs: number): Promise<Touched>;
  listRollouts(nowUnixMs: number): Promise<readonly RolloutView[]>;
  findRollout(rolloutId: string, nowUnixMs: number): Promise<RolloutView | undefined>;

  // views
  /** The whole fleet by id, each with its explanation. */
  listDevices(settings: ViewSettings): Promise<readonly Pick<DeviceDetail, 'device' | 'explanation'>[]>;
  /** A page of the enrolled devices, by id, from the one behind `after`; `limit` at most. */
  listCredentials(page: { readonly after: string | null; readonly limit: number }): Promise<CredentialsAnswer>;
  /** With its explanation and its newest 200 events. */
  findDevice(deviceId: string, settings: ViewSettings): Promise<DeviceDetail | undefined>;
  countDevices(settings: ViewSettings): Promise<{
    readonly total: number;
    readonly online: number;
    readonly byEnrolment: Readonly<Record<DeviceRecord['enrolment'], number>>;
  }>;

  // people
  countTokens(): Promise<number>;
  createToken(
    token: NewToken,
    actor: Actor,
    nowUnixMs: number,
  ): Promise<{ readonly outcome: 'created' | 'name-taken' }>;
  findToken(tokenSha256: string): Promise<TokenRecord | undefined>;
  /** Uses a one-time token up and makes the lasting one, in one step; it stays good when the name is taken. Audited. */
  exchangeToken(
    oneTimeTokenId: string,
    token: NewToken,
    nowUnixMs: number,
  ): Promise<'exchanged' | 'used' | 'name-taken'>;
  touchToken(tokenId: string, nowUnixMs: number): Promise<void>;
  listTokens(): Promise<readonly TokenView[]>;
  revokeToken(tokenId: string, actor: Actor, nowUnixMs: number): Promise<boolean>;

  // audit
  appendAudit(entry: NewAuditEntry, nowUnixMs: number): Promise<AuditEntry>;
  /** Newest first. `beforeIndex` pages. */
  listAudit(page: { readonly limit: number; readonly beforeIndex?: number }): Promise<readonly AuditEntry[]>;
  /** Walks the whole chain. Index of the first entry that does not follow from the one before it. */
  verifyAudit(): Promise<
    { readonly ok: true; readonly entries: number } | { readonly ok: false; readonly brokenAtIndex: number }
  >;

  close(): Promise<void>;
}

// --- publication (implemented in update-server/repository/) ---------------------------------------------------------

export type PublishOutcome =
  | { readonly ok: true; readonly answer: PublishAnswer }
  /** `code` is a RefusalCode, `artifact-missing`, or another code of the repository's. */
  | { readonly ok: false; readonly code: string; readonly what: string; readonly cure: string };

export interface Publication {
  /** Stores bytes under their digest, streaming; refuses (value) what does not hash to it or is longer than `sizeBytes`. */
  putArtifact(
    sha256: string,
    stream: AsyncIterable<Uint8Array>,
    sizeBytes: number,
  ): Promise<
    { readonly ok: true } | { readonly ok: false; readonly code: string; readonly what: string; readonly cure: string }
  >;
  /** Size of a stored artifact, or undefined. */
  hasArtifact(sha256: string): Promise<{ readonly sizeBytes: number } | undefined>;
  /** Bytes `first` to `last` of a stored artifact, both inclusive. */
  readArtifact(sha256: string, first: number, last: number): AsyncIterable<Uint8Array>;
  /** Verifies everything a device would, calls `Store.recordPublication`, signs snapshot and timestamp. */
  publish(request: PublishRequest, actor: Actor): Promise<PublishOutcome>;
  /** A metadata file as served to devices, or undefined. `name` was checked against path tricks by the caller. */
  readMetadata(name: string): Promise<Uint8Array | undefined>;
  /** From the signed root. */
  environment(): 'production' | 'lab' | 'rehearsal';
}
