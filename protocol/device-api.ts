/**
 * What device and server say to each other over HTTPS. Schemas are the contract: the server validates with them, the
 * agent decodes with them, and OpenAPI is generated from them. Unknown fields are refused on both sides; a new field
 * means a new protocol version, and agents three versions old are served.
 *
 * Every string, list and number is bounded here, so that nothing is stored or allocated beyond these limits.
 */
import * as v from 'valibot';

export const PROTOCOL_VERSION = 3;
/** The oldest protocol version that the server still answers. */
export const OLDEST_PROTOCOL_VERSION = 1;

/** Paths of the device listener. Only `health` and the two enrolment paths answer without a client certificate. */
export const DEVICE_PATHS = {
  health: '/healthz',
  enrolNonce: '/device/v1/enrol/nonce',
  enrol: '/device/v1/enrol',
  poll: '/device/v1/poll',
  report: '/device/v1/report',
  /** + `/` + file name: `1.root.json`, `timestamp.json`, `7.snapshot.json`, `3.targets.json`. */
  metadata: '/device/v1/metadata',
  /** + `/` + consistent target path (TUF 1.0.34 §6.2: the digest stands before the file name). Answers Range. */
  targets: '/device/v1/targets',
  /** + `/` + image digest + `/blocks`, `/from/OLD-DIGEST` or `/pieces`: image-transport.ts. Untrusted. */
  transport: '/device/v1/transport',
  /** What follows is of protocol 3 and spoken in credentials-api.ts. */
  credentialsNonce: '/device/v1/credentials/nonce',
  credentialsStatement: '/device/v1/credentials/statement',
  credentialsEscrow: '/device/v1/credentials/escrow',
  credentialsRenew: '/device/v1/credentials/renew',
} as const;

/** No JSON body between device and server is larger. */
export const DEVICE_BODY_CAP_BYTES = 64 * 1024;
export const REPORTS_PER_REQUEST = 64;

const Text = (max: number) => v.pipe(v.string(), v.maxLength(max));
const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** Device ids, class names and channels: 1 to 64 of `a-z 0-9 - _ .`, beginning with a letter or digit. */
export const Name = v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9._-]{0,63}$/));
export const Sha256Hex = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const Base64Url = (max: number) => v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]+$/), v.maxLength(max));
/** A TUF target path: relative, no empty, `.` or `..` segment. */
export const TargetPath = v.pipe(
  v.string(),
  v.maxLength(256),
  v.regex(/^(?:[a-z0-9][a-z0-9._-]*\/)*[a-z0-9][a-z0-9._-]*$/),
);
export const Slot = v.picklist(['a', 'b']);
export type Slot = v.InferOutput<typeof Slot>;

/** The install machine's states, as devices report them (agent/core/install-machine.ts). */
export const InstallState = v.picklist([
  'idle',
  'checking',
  'downloading',
  'verifying',
  'staged',
  'armed',
  'trial',
  'confirming',
  'sealing',
  'rolling-back',
  'held',
]);
export type InstallState = v.InferOutput<typeof InstallState>;

/** States of the first-boot machine in the order that they are reached. */
export const FIRST_BOOT_PROGRESS = [
  'factory',
  'generated',
  'escrowed',
  'applied',
  'verified',
  'open',
  'enrolled',
  'reported',
] as const;

/** The first-boot machine's states, as devices report them (agent/core/first-boot-machine.ts). Two lie beside the way. */
export const FirstBootState = v.picklist([...FIRST_BOOT_PROGRESS, 'blocked', 'clone-suspected']);
export type FirstBootState = v.InferOutput<typeof FirstBootState>;

/** False also for the states beside the way, and for a word that is no state. */
export function hasReached(state: string, milestone: (typeof FIRST_BOOT_PROGRESS)[number]): boolean {
  const order: readonly string[] = FIRST_BOOT_PROGRESS;
  return order.indexOf(state) >= order.indexOf(milestone);
}

/** Why a device puts off what it could do now. Each is a reason of the closed list too (reasons.ts). */
export const WaitReason = v.picklist(['in-use', 'link-metered', 'budget-spent']);
export type WaitReason = v.InferOutput<typeof WaitReason>;

// --- enrolment ---------------------------------------------------------------------------------------------------

export const NonceRequest = v.strictObject({ protocol: Count, claimId: Name });
export type NonceRequest = v.InferOutput<typeof NonceRequest>;

export const NonceAnswer = v.strictObject({ nonce: Base64Url(64), expiresUnixMs: Count });
export type NonceAnswer = v.InferOutput<typeof NonceAnswer>;

export const EnrolRequest = v.strictObject({
  protocol: Count,
  claimId: Name,
  nonce: Base64Url(64),
  /** PKCS#10, DER, base64url. */
  certificateRequest: Base64Url(4096),
  /** HMAC-SHA-256, see enrolment.ts. */
  proof: Base64Url(64),
});
export type EnrolRequest = v.InferOutput<typeof EnrolRequest>;

export const EnrolAnswer = v.strictObject({
  deviceId: Name,
  /** PEM, leaf first. */
  certificateChain: Text(16 * 1024),
  mqttUrl: v.nullable(Text(256)),
});
export type EnrolAnswer = v.InferOutput<typeof EnrolAnswer>;

// --- poll --------------------------------------------------------------------------------------------------------

export const Installed = v.strictObject({ sequence: Count, version: Text(64) });
export type Installed = v.InferOutput<typeof Installed>;

/** The board of a device that has no A/B slots yet (agent/boards/none.ts). */
export const NO_SLOTS_BOARD = 'none';

export const PollRequest = v.strictObject({
  protocol: Count,
  agentVersion: Text(32),
  hardwareClass: Name,
  channel: Name,
  board: Name,
  bootedSlot: v.nullable(Slot),
  state: InstallState,
  /** Since when in this state; null while the device has no synchronised clock. */
  stateSinceUnixMs: v.nullable(Count),
  installed: Installed,
  floorSequence: Count,
  /** The action the device works on, or null. */
  actionId: v.nullable(Name),
  quarantined: v.pipe(v.array(v.strictObject({ sequence: Count, reason: Text(128) })), v.maxLength(16)),
  /** What the action waits for, on the device; null when it gets on. Since protocol 2. */
  waiting: v.optional(v.nullable(WaitReason), null),
  /** How far the first boot is; null where the agent has none, absent before protocol 3. */
  firstBoot: v.optional(v.nullable(v.strictObject({ state: FirstBootState, epoch: Count }))),
});
export type PollRequest = v.InferOutput<typeof PollRequest>;

/** One device's part in one rollout. Nothing in it is trusted: the release proves itself by its signatures. */
export const Action = v.strictObject({
  actionId: Name,
  rolloutId: Name,
  releasePath: TargetPath,
  sequence: Count,
  version: Text(64),
  deadlineUnixMs: Count,
});
export type Action = v.InferOutput<typeof Action>;

/** The last three are said to agents of protocol 3 and later only. */
export const POLL_REQUESTS = [
  'report-inventory',
  'retry-now',
  /** Say, signed and with a fresh nonce, what became of your credentials. */
  'report-credentials',
  /** Begin a new epoch. Said again until a later epoch is heard of. */
  'rotate-credentials',
  /** Ask for a new certificate over this connection. */
  'renew-certificate',
] as const;

export const PollAnswer = v.strictObject({
  protocol: Count,
  pollAfterMs: v.pipe(Count, v.maxValue(7 * 24 * 3600 * 1000)),
  /** Null also calls off an action that is not armed yet. */
  action: v.nullable(Action),
  /** Everything a server may ask of a device; never a command line. */
  requests: v.pipe(v.array(v.picklist(POLL_REQUESTS)), v.maxLength(4)),
});
export type PollAnswer = v.InferOutput<typeof PollAnswer>;

// --- reports -----------------------------------------------------------------------------------------------------

const InAction = { actionId: v.nullable(Name), sequence: Count };

export const ReportEvent = v.variant('kind', [
  /** Userspace of `slot` is up; the proof of a confirmed boot is `confirmed`, not this. */
  v.strictObject({ kind: v.literal('booted'), slot: Slot, trial: v.boolean(), sequence: Count, version: Text(64) }),
  v.strictObject({ kind: v.literal('state'), state: InstallState, actionId: v.nullable(Name) }),
  v.strictObject({ kind: v.literal('progress'), ...InAction, doneBytes: Count, totalBytes: Count }),
  /** The new image itself says: I run from this slot, my checks passed, the slot is permanent. The only success. */
  v.strictObject({ kind: v.literal('confirmed'), ...InAction, slot: Slot, version: Text(64) }),
  v.strictObject({
    kind: v.literal('rolled-back'),
    ...InAction,
    reason: Text(128),
    quarantined: v.boolean(),
    detail: Text(512),
  }),
  /** Verification said no. `code` is a RefusalCode of trust/refusal.ts. */
  v.strictObject({ kind: v.literal('refused'), ...InAction, code: Text(64), detail: Text(512) }),
  /** It did not work, and it is not the release's fault: disk, network, time. */
  v.strictObject({ kind: v.literal('failed'), ...InAction, code: Text(64), detail: Text(512) }),
  v.strictObject({ kind: v.literal('notice'), code: Text(64), detail: Text(512) }),
]);
export type ReportEvent = v.InferOutput<typeof ReportEvent>;

export const Report = v.strictObject({
  /** Counts up by one per device over its whole life, restarts included: the server sees what it missed, and repeats. */
  reportSequence: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  bootId: Name,
  atUnixMs: v.nullable(Count),
  event: ReportEvent,
});
export type Report = v.InferOutput<typeof Report>;

export const ReportRequest = v.strictObject({
  protocol: Count,
  reports: v.pipe(v.array(Report), v.minLength(1), v.maxLength(REPORTS_PER_REQUEST)),
});
export type ReportRequest = v.InferOutput<typeof ReportRequest>;

/** Everything up to and including this number is stored; the device may forget it. */
export const ReportAnswer = v.strictObject({ acknowledged: Count });
export type ReportAnswer = v.InferOutput<typeof ReportAnswer>;

// --- errors ------------------------------------------------------------------------------------------------------

/** Every answer with a status of 400 or more, on both listeners. */
export const ErrorAnswer = v.strictObject({
  ok: v.literal(false),
  code: Text(64),
  what: Text(1024),
  cure: Text(1024),
  where: v.optional(Text(256)),
});
export type ErrorAnswer = v.InferOutput<typeof ErrorAnswer>;
