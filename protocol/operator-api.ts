/**
 * What people's tools say to the server: the command line, the page, scripts. JSON over HTTPS on the operator
 * listener, with `Authorization: Bearer <token>`. Errors are `ErrorAnswer`s. Everything here is bounded and strict.
 */
import * as v from 'valibot';
import { CredentialEntry, FirstBootState } from './credentials.ts';
import { Installed, InstallState, Name, Sha256Hex, Slot, TargetPath } from './device-api.ts';
import { ClaimFile } from './enrolment.ts';
import { FLAG_CODES, REASON_CODES } from './reasons.ts';

const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Text = (max: number) => v.pipe(v.string(), v.maxLength(max));
const Moment = Count; // Unix milliseconds

export const OPERATOR_PATHS = {
  health: '/healthz',
  /** GET: name and role of the token. */
  whoami: '/api/v1/whoami',
  /** POST with the one-time token as bearer: exchanges it, once, for a lasting one. */
  login: '/api/v1/login',
  tokens: '/api/v1/tokens',
  claims: '/api/v1/claims',
  devices: '/api/v1/devices',
  /** GET, a page at a time: `?limit=` and `?after=` the id that the page before ended with. */
  credentials: '/api/v1/credentials',
  /** GET + `/` + file name: the same metadata files devices get. */
  metadata: '/api/v1/metadata',
  /** PUT and HEAD + `/` + SHA-256: raw bytes, content-addressed; PUT of what is there is a no-op. */
  artifacts: '/api/v1/artifacts',
  publish: '/api/v1/publish',
  releases: '/api/v1/releases',
  rollouts: '/api/v1/rollouts',
  rotations: '/api/v1/rotations',
  /** + `/requests` and `/outstanding`. */
  escrow: '/api/v1/escrow',
  audit: '/api/v1/audit',
  /** Server-sent events: `event: change`, `data: {"kind":"device|rollout|release|transport|audit","id":"…"}`. */
  events: '/api/v1/events',
  /** Lab servers only. */
  labPush: '/api/v1/lab/push',
} as const;

/** Weakest first. Each may do what those before it may. */
export const ROLES = ['viewer', 'operator', 'approver', 'admin'] as const;
export const Role = v.picklist(ROLES);
export type Role = v.InferOutput<typeof Role>;

export const Whoami = v.strictObject({
  name: Text(64),
  role: Role,
  serverVersion: Text(32),
  /** From the signed root: shown everywhere when it is not `production`. */
  environment: v.picklist(['production', 'lab', 'rehearsal']),
});
export type Whoami = v.InferOutput<typeof Whoami>;

export const LoginRequest = v.strictObject({ name: Name });
export type LoginRequest = v.InferOutput<typeof LoginRequest>;
export const LoginAnswer = v.strictObject({ tokenId: Name, token: Text(128), name: Name, role: Role });
export type LoginAnswer = v.InferOutput<typeof LoginAnswer>;

export const TokenRequest = v.strictObject({
  name: Name,
  role: Role,
  expiresInDays: v.optional(v.pipe(Count, v.minValue(1), v.maxValue(3650))),
});
export const TokenView = v.strictObject({
  tokenId: Name,
  name: Name,
  role: Role,
  createdUnixMs: Moment,
  expiresUnixMs: v.nullable(Moment),
  lastUsedUnixMs: v.nullable(Moment),
});
export type TokenRequest = v.InferOutput<typeof TokenRequest>;
export type TokenView = v.InferOutput<typeof TokenView>;

/** `ids` become device ids. The answer is the only time that the secrets are seen. */
export const ClaimsRequest = v.strictObject({
  hardwareClass: Name,
  ids: v.pipe(v.array(Name), v.minLength(1), v.maxLength(1000)),
  expiresInDays: v.pipe(Count, v.minValue(1), v.maxValue(3650)),
});
export type ClaimsRequest = v.InferOutput<typeof ClaimsRequest>;
/** POST claims: one claim file a device, ready to be written to its factory partition. */
export const ClaimsAnswer = v.strictObject({ claims: v.array(ClaimFile) });
export type ClaimsAnswer = v.InferOutput<typeof ClaimsAnswer>;

export const Explanation = v.strictObject({
  deviceId: Name,
  reason: v.picklist(REASON_CODES),
  /** The rollout, refusal code, rollback reason, wave … that applies here. */
  detail: Text(512),
  sinceUnixMs: v.nullable(Moment),
  next: Text(512),
  cure: Text(512),
});
export type Explanation = v.InferOutput<typeof Explanation>;

/** What the server does about devices that have not proven rotation. */
export const CREDENTIALS_GATES = ['off', 'report', 'enforce'] as const;
export const CredentialsGate = v.picklist(CREDENTIALS_GATES);
export type CredentialsGate = v.InferOutput<typeof CredentialsGate>;

/** How a device stands with its credentials. All but `proven` are shown in red. */
export const STANDINGS = ['proven', 'factory', 'flagged', 'awaiting-approval'] as const;
export const Standing = v.picklist(STANDINGS);
export type Standing = v.InferOutput<typeof Standing>;

/** What a rollout is for. A device that has not proven rotation gets the last two only, where the gate is enforced. */
export const ROLLOUT_PURPOSES = ['update', 'repair', 'security'] as const;
export const RolloutPurpose = v.picklist(ROLLOUT_PURPOSES);
export type RolloutPurpose = v.InferOutput<typeof RolloutPurpose>;

export const DeviceView = v.strictObject({
  deviceId: Name,
  hardwareClass: Name,
  channel: v.nullable(Name),
  /** `claimed`: a claim exists, the device has not enrolled. */
  enrolment: v.picklist(['claimed', 'enrolled', 'revoked']),
  online: v.boolean(),
  lastSeenUnixMs: v.nullable(Moment),
  agentVersion: v.nullable(Text(32)),
  /** The kind of its board; `none` has no slots, and is given no updates. */
  board: v.nullable(Name),
  bootedSlot: v.nullable(Slot),
  state: v.nullable(InstallState),
  installed: v.nullable(Installed),
  floorSequence: Count,
  actionId: v.nullable(Name),
  /** Short form of the explanation. */
  reason: v.picklist(REASON_CODES),
  reasonSinceUnixMs: v.nullable(Moment),
  /** Null while it is not enrolled, and on servers whose gate is off. */
  credentials: v.nullable(Standing),
  /** End of the newest certificate that is not refused; null where there is none. */
  certificateEndsUnixMs: v.nullable(Moment),
});
export type DeviceView = v.InferOutput<typeof DeviceView>;

export const DeviceEvent = v.strictObject({
  atUnixMs: Moment,
  reportSequence: v.nullable(Count),
  kind: Text(32),
  text: Text(1024),
});
export type DeviceEvent = v.InferOutput<typeof DeviceEvent>;
/** What the server knows of a device's credentials; never a secret. */
export const DeviceCredentials = v.strictObject({
  standing: Standing,
  /** Null: it has stated nothing yet. */
  state: v.nullable(FirstBootState),
  epoch: Count,
  statedUnixMs: v.nullable(Moment),
  /** The board that it states, also while nobody has approved it. */
  hardwareId: v.nullable(Sha256Hex),
  flags: v.array(v.strictObject({ code: v.picklist(FLAG_CODES), detail: Text(1024) })),
  inventory: v.array(CredentialEntry),
  /** The newest sealed blob. */
  escrow: v.nullable(
    v.strictObject({ epoch: Count, sha256: Sha256Hex, owners: v.array(Sha256Hex), storedUnixMs: Moment }),
  ),
  /** Keys that came with its claim after another had used it: a card that was moved or copied, a board that was flashed anew, or a thief. */
  waitingKeys: v.array(v.strictObject({ keySha256: Sha256Hex, sinceUnixMs: Moment })),
});
export type DeviceCredentials = v.InferOutput<typeof DeviceCredentials>;

/** A page of it never has more devices. */
export const CREDENTIALS_PAGE = 500;
/** Every enrolled device, by id. */
export const CredentialsAnswer = v.strictObject({
  devices: v.pipe(
    v.array(v.strictObject({ deviceId: Name, credentials: DeviceCredentials })),
    v.maxLength(CREDENTIALS_PAGE),
  ),
  /** What to ask for `after`; null: this was the last page. */
  next: v.nullable(Name),
});
export type CredentialsAnswer = v.InferOutput<typeof CredentialsAnswer>;

export const DeviceDetail = v.strictObject({
  device: DeviceView,
  explanation: Explanation,
  /** Null while it is not enrolled. */
  credentials: v.nullable(DeviceCredentials),
  history: v.array(DeviceEvent),
});
export type DeviceDetail = v.InferOutput<typeof DeviceDetail>;

/** Signed metadata as text, exactly the bytes that were signed. Every artifact named in it must be uploaded before. */
export const PublishRequest = v.strictObject({
  /** New roots, in order; usually none. */
  roots: v.pipe(v.array(Text(64 * 1024)), v.maxLength(16)),
  targets: Text(1024 * 1024),
});
export type PublishRequest = v.InferOutput<typeof PublishRequest>;
export const ReleaseView = v.strictObject({
  releasePath: TargetPath,
  hardwareClass: Name,
  channel: Name,
  version: Text(64),
  sequence: Count,
  floorSequence: Count,
  images: v.array(v.strictObject({ component: Name, sizeBytes: Count, sha256: Sha256Hex })),
  publishedUnixMs: Moment,
});
export type ReleaseView = v.InferOutput<typeof ReleaseView>;
export const PublishAnswer = v.strictObject({
  targetsVersion: Count,
  snapshotVersion: Count,
  timestampVersion: Count,
  releases: v.array(ReleaseView),
});
export type PublishAnswer = v.InferOutput<typeof PublishAnswer>;

/** A wave takes a number of devices, or a percentage of the cohort; each includes the ones before it. */
export const Wave = v.union([
  v.strictObject({ devices: v.pipe(Count, v.minValue(1)), soakMs: v.optional(Count) }),
  v.strictObject({ percent: v.pipe(v.number(), v.gtValue(0), v.maxValue(100)), soakMs: v.optional(Count) }),
]);
export type Wave = v.InferOutput<typeof Wave>;

export const RolloutRequest = v.strictObject({
  releasePath: TargetPath,
  waves: v.pipe(v.array(Wave), v.minLength(1), v.maxLength(32)),
  /** Halt when more than this share of the devices that attempted it failed … */
  maxFailedPercent: v.pipe(v.number(), v.minValue(0), v.maxValue(100)),
  /** … counted once at least this many of the wave attempted it (or all of the wave did). */
  minSample: v.pipe(Count, v.minValue(1)),
  /** A device that has not confirmed this long after it was offered the release counts as failed. */
  actionTimeoutMs: v.pipe(Count, v.minValue(1000)),
  /** Default `update`. Said in the audit, and shown wherever the rollout is. */
  purpose: v.optional(RolloutPurpose),
  /** Only these; all of the class and channel when absent. */
  deviceIds: v.optional(v.pipe(v.array(Name), v.minLength(1), v.maxLength(10_000))),
});
export type RolloutRequest = v.InferOutput<typeof RolloutRequest>;

export const RolloutState = v.picklist(['running', 'paused', 'halted', 'complete', 'cancelled']);
export type RolloutState = v.InferOutput<typeof RolloutState>;

export const WaveView = v.strictObject({
  wave: Wave,
  state: v.picklist(['waiting', 'open', 'passed', 'halted']),
  devices: Count,
  offered: Count,
  attempted: Count,
  confirmed: Count,
  failed: Count,
  openedUnixMs: v.nullable(Moment),
});
export type WaveView = v.InferOutput<typeof WaveView>;
export const RolloutView = v.strictObject({
  rolloutId: Name,
  release: ReleaseView,
  purpose: RolloutPurpose,
  state: RolloutState,
  /** Why it is in this state, in words: the gate's own. */
  reason: Text(1024),
  waves: v.array(WaveView),
  devices: Count,
  confirmed: Count,
  failed: Count,
  neverStarted: Count,
  maxFailedPercent: v.number(),
  minSample: Count,
  actionTimeoutMs: Count,
  createdUnixMs: Moment,
  createdBy: Text(64),
});
export type RolloutView = v.InferOutput<typeof RolloutView>;

/** POST `${rollouts}/:id/${verb}`. `halt` is the server's own; people pause, resume and cancel. */
export const ROLLOUT_VERBS = ['pause', 'resume', 'cancel'] as const;
export type RolloutVerb = (typeof ROLLOUT_VERBS)[number];

// --- rotation and escrow ---------------------------------------------------------------------------------------------

export const RotationRequest = v.strictObject({
  /** Only these … */
  deviceIds: v.optional(v.pipe(v.array(Name), v.minLength(1), v.maxLength(10_000))),
  /** … or those of this class; every enrolled device when both are absent. */
  hardwareClass: v.optional(Name),
  waves: v.pipe(v.array(Wave), v.minLength(1), v.maxLength(32)),
  maxFailedPercent: v.pipe(v.number(), v.minValue(0), v.maxValue(100)),
  minSample: v.pipe(Count, v.minValue(1)),
  /** A device that was asked and has stated no later epoch by then counts as failed. */
  timeoutMs: v.pipe(Count, v.minValue(1000)),
  why: v.pipe(Text(256), v.minLength(1)),
});
export type RotationRequest = v.InferOutput<typeof RotationRequest>;

export const RotationPart = v.strictObject({
  deviceId: Name,
  wave: Count,
  /** `waiting`: its wave is closed, or it has not polled since. `asked`: until it states a later epoch. */
  state: v.picklist(['waiting', 'asked', 'rotated', 'failed', 'called-off']),
  sinceUnixMs: Moment,
  detail: Text(1024),
});
export type RotationPart = v.InferOutput<typeof RotationPart>;

/** In waves as a rollout is: `confirmed` stated a later epoch and proved it. */
export const RotationView = v.strictObject({
  rotationId: Name,
  state: RolloutState,
  reason: Text(1024),
  why: Text(256),
  waves: v.array(WaveView),
  devices: Count,
  rotated: Count,
  failed: Count,
  maxFailedPercent: v.number(),
  minSample: Count,
  timeoutMs: Count,
  createdUnixMs: Moment,
  createdBy: Text(64),
});
export type RotationView = v.InferOutput<typeof RotationView>;
/** GET rotations, newest first. */
export const RotationsAnswer = v.strictObject({ rotations: v.array(RotationView) });
/** POST rotations, GET `rotations/:id`, POST `rotations/:id/${verb}` (ROLLOUT_VERBS). */
export const RotationDetail = v.strictObject({ rotation: RotationView, parts: v.array(RotationPart) });
export type RotationDetail = v.InferOutput<typeof RotationDetail>;

/** POST `devices/:id/escrow/requests`. */
export const EscrowReleaseRequest = v.strictObject({ reason: v.pipe(Text(256), v.minLength(1)) });
export const EscrowReleaseView = v.strictObject({
  requestId: Name,
  deviceId: Name,
  epoch: Count,
  reason: Text(256),
  requestedBy: Text(64),
  requestedUnixMs: Moment,
  approvedBy: v.nullable(Text(64)),
  /** Until when the blob may be fetched; null while it is not approved. */
  goodUntilUnixMs: v.nullable(Moment),
  fetchedUnixMs: v.nullable(Moment),
});
export type EscrowReleaseView = v.InferOutput<typeof EscrowReleaseView>;
/** GET `escrow/requests`, newest first. */
export const EscrowReleasesAnswer = v.strictObject({ requests: v.array(EscrowReleaseView) });
/** POST `escrow/requests/:id/fetch`: the sealed blob, base64url. Audited each time; the device is rotated afterwards. */
export const EscrowBlobAnswer = v.strictObject({
  deviceId: Name,
  epoch: Count,
  sha256: Sha256Hex,
  owners: v.array(Sha256Hex),
  blob: Text(64 * 1024),
});
export type EscrowBlobAnswer = v.InferOutput<typeof EscrowBlobAnswer>;
/** GET `escrow/outstanding?owner=SHA256`: devices whose newest blob this owner's key opens. */
export const EscrowOutstandingAnswer = v.strictObject({
  owner: Sha256Hex,
  devices: v.array(v.strictObject({ deviceId: Name, epoch: Count, sha256: Sha256Hex, storedUnixMs: Moment })),
});
export type EscrowOutstandingAnswer = v.InferOutput<typeof EscrowOutstandingAnswer>;

export const AuditEntry = v.strictObject({
  index: Count,
  atUnixMs: Moment,
  /** Token name, `server`, or `device:<id>`. */
  actor: Text(80),
  action: Text(64),
  subject: Text(256),
  detail: Text(2048),
  /** SHA-256 over the previous entry's hash and this entry: a removed or altered entry breaks every later one. */
  hash: Sha256Hex,
});
export type AuditEntry = v.InferOutput<typeof AuditEntry>;

// --- answers that are lists, and small requests ----------------------------------------------------------------------

/** GET tokens. POST tokens answers a `LoginAnswer`; DELETE `tokens/:id` answers `Done`. */
export const TokensAnswer = v.strictObject({ tokens: v.array(TokenView) });
/** GET devices. GET `devices/:id` answers a `DeviceDetail`. */
export const DevicesAnswer = v.strictObject({ devices: v.array(DeviceView) });
/** POST `devices/:id/approve`: a person decides that what waits is right. Answers a `DeviceDetail`. */
export const ApproveRequest = v.strictObject({
  /** The board that it states (and that it is the one, where two may have its key), or a key that came with its claim after another had used it. */
  what: v.picklist(['hardware', 'key']),
  /** What the person saw: refused when the device says something else by now. Null: a board without an identity. */
  value: v.nullable(Sha256Hex),
  why: v.pipe(Text(256), v.minLength(1)),
});
export type ApproveRequest = v.InferOutput<typeof ApproveRequest>;
/** POST `devices/:id/revoke`; answers a `DeviceDetail`. */
export const RevokeRequest = v.strictObject({ why: v.pipe(Text(256), v.minLength(1)) });
export type RevokeRequest = v.InferOutput<typeof RevokeRequest>;
/** One form in which an image travels or is going to (image-transport.ts), besides whole. */
export const TransportState = v.strictObject({
  imageSha256: Sha256Hex,
  kind: v.picklist(['blocks-zstd', 'blocks-gzip', 'pieces', 'recipe']),
  /** Of a recipe: the image that it starts from. */
  fromSha256: v.nullable(Sha256Hex),
  state: v.picklist(['made', 'making', 'queued', 'failed']),
  /** Of what is made. */
  sizeBytes: v.nullable(Count),
  /** Of the step that `detail` names, while it is being made. */
  donePercent: v.nullable(v.pipe(Count, v.maxValue(100))),
  detail: Text(1024),
});
export type TransportState = v.InferOutput<typeof TransportState>;
/** GET releases, newest first. */
export const ReleasesAnswer = v.strictObject({ releases: v.array(ReleaseView), transport: v.array(TransportState) });
/** GET rollouts, newest first. POST rollouts and GET or POST `rollouts/:id…` answer a `RolloutView`. */
export const RolloutsAnswer = v.strictObject({ rollouts: v.array(RolloutView) });
/** GET audit `?limit=100&before=INDEX`, newest first. `chain` says whether the hashes of the whole log hold. */
export const AuditAnswer = v.strictObject({
  entries: v.array(AuditEntry),
  chain: v.strictObject({ ok: v.boolean(), entries: Count, brokenAtIndex: v.nullable(Count) }),
});
/** PUT `artifacts/:sha256`. HEAD answers 200 with content-length, or 404. GET answers one range. */
export const ArtifactAnswer = v.strictObject({ sha256: Sha256Hex, sizeBytes: Count });
/** The most that one answer to GET carries. */
export const ARTIFACT_PIECE_CAP_BYTES = 8 * 1024 ** 2;
/** The most that one artifact may have. */
export const ARTIFACT_CAP_BYTES = 8 * 1024 * 1024 * 1024;
/** No JSON body of the operator API is larger, but that of `publish`. */
export const OPERATOR_BODY_CAP_BYTES = 512 * 1024;
export const PUBLISH_BODY_CAP_BYTES = 4 * 1024 * 1024;
export const Done = v.strictObject({ ok: v.literal(true) });

/** POST lab/push: the uploaded artifact becomes one component of the device's next release; the others stay as they are. */
export const LabPushRequest = v.strictObject({
  deviceId: Name,
  component: Name,
  sha256: Sha256Hex,
  /** Components that are not to be carried over: for the first push to a class, which has no release to carry from. */
  others: v.optional(v.pipe(v.array(v.strictObject({ component: Name, sha256: Sha256Hex })), v.maxLength(7))),
});
export type LabPushRequest = v.InferOutput<typeof LabPushRequest>;
export const LabPushAnswer = v.strictObject({ rolloutId: Name, version: Text(64), sequence: Count });
export type LabPushAnswer = v.InferOutput<typeof LabPushAnswer>;

/** The page's own sign-in: POST /session `{token}` sets the cookie; DELETE /session ends it. */
export const SessionRequest = v.strictObject({ token: v.pipe(Text(128), v.minLength(1)) });
export type SessionRequest = v.InferOutput<typeof SessionRequest>;
/** A request that changes something and signs in by cookie must carry this header, with any value. */
export const CSRF_HEADER = 'x-holdfast-page';
