/** The tables as Kysely types them. Booleans are 0 or 1, times Unix milliseconds, JSON is text. See migrations.ts. */
import type { Generated } from 'kysely';
import type { CredentialEntry, FirstBootState } from '../../protocol/credentials.ts';
import type { StatementVerdict } from '../../protocol/credentials-api.ts';
import type { RolloutPurpose } from '../../protocol/operator-api.ts';

export interface ClaimsTable {
  claim_id: string;
  hardware_class: string;
  sealed_secret: Uint8Array;
  expires_unix_ms: number;
  used_by_key: string | null;
  created_unix_ms: number;
}

export interface NoncesTable {
  nonce: string;
  claim_id: string;
  expires_unix_ms: number;
}

export interface DevicesTable {
  device_id: string;
  hardware_class: string;
  enrolment: 'claimed' | 'enrolled' | 'revoked';
  enrolment_since_unix_ms: number;
  channel: string | null;
  agent_version: string | null;
  board: string | null;
  booted_slot: 'a' | 'b' | null;
  state: string | null;
  state_since_unix_ms: number | null;
  installed_sequence: number | null;
  installed_version: string | null;
  installed_since_unix_ms: number | null;
  floor_sequence: Generated<number>;
  action_id: string | null;
  waiting: string | null;
  waiting_since_unix_ms: number | null;
  quarantined: Generated<string>;
  last_seen_unix_ms: number | null;
  presence: 'here' | 'gone' | null;
  presence_unix_ms: number | null;
  done_bytes: Generated<number>;
  total_bytes: Generated<number>;
  acknowledged_report: Generated<number>;
  /** Counts the lives of the device's report counter: a wiped data partition begins a new one. */
  report_epoch: Generated<number>;
  /** The boot that its newest report is of. */
  report_boot: string | null;
  /** Of its last poll. */
  protocol: number | null;
  first_boot_state: FirstBootState | null;
  first_boot_epoch: number | null;
  /** Counts the keys under which it was admitted: with a new one, its epochs begin anew. */
  credential_life: Generated<number>;
  hardware_id: string | null;
  /** By its last statement, whether anybody approved it or not. */
  stated_hardware: string | null;
  /** A digest that a person approved, or `next`: the first word of a device that was admitted anew. */
  approved_hardware: string | null;
}

export interface CertificatesTable {
  fingerprint_sha256: string;
  serial: string;
  device_id: string;
  key_sha256: string;
  chain_pem: string;
  not_after_unix_ms: number;
  issued_unix_ms: number;
  revoked_unix_ms: number | null;
  /** Null: nobody has come with it yet. */
  first_used_unix_ms: Generated<number | null>;
  /** Refused from then on, because a newer one took its place. */
  superseded_unix_ms: Generated<number | null>;
}

export interface DeviceEventsTable {
  id: Generated<number>;
  device_id: string;
  at_unix_ms: number;
  report_epoch: number | null;
  report_sequence: number | null;
  digest: string | null;
  kind: string;
  text: string;
}

export interface ReleasesTable {
  release_path: string;
  hardware_class: string;
  channel: string;
  version: string;
  sequence: number;
  floor_sequence: number;
  images: string;
  published_unix_ms: number;
  withdrawn: Generated<number>;
}

/** Targets versions whose releases this database has recorded. */
export interface PublicationsTable {
  targets_version: number;
  recorded_unix_ms: number;
}

export interface RolloutsTable {
  id: Generated<number>;
  release_path: string;
  state: 'running' | 'paused' | 'halted' | 'complete' | 'cancelled';
  reason: string;
  purpose: Generated<RolloutPurpose>;
  max_failed_percent: number;
  min_sample: number;
  action_timeout_ms: number;
  /** 1: the whole class and channel, also devices that come later. 0: only the devices named. */
  whole_class: number;
  created_unix_ms: number;
  created_by: string;
}

export interface RolloutWavesTable {
  rollout: number;
  position: number;
  wave: string;
  opened_unix_ms: number | null;
  passed_unix_ms: number | null;
}

export interface PartsTable {
  id: Generated<number>;
  rollout: number;
  device_id: string;
  place_rank: number;
  wave: number;
  state: string;
  state_since_unix_ms: number;
  open_unix_ms: number | null;
  offered_unix_ms: number | null;
  deadline_unix_ms: number | null;
  attempted: Generated<number>;
  forgiven: Generated<number>;
  /** 1: out of reach or superseded, and another device took the place. */
  place_taken: Generated<number>;
  detail: Generated<string>;
}

export interface ExclusionsTable {
  rollout: number;
  device_id: string;
  why: 'other-class' | 'other-channel';
}

export interface TokensTable {
  token_id: string;
  name: string;
  role: 'viewer' | 'operator' | 'approver' | 'admin';
  token_sha256: string;
  kind: 'lasting' | 'one-time';
  created_unix_ms: number;
  expires_unix_ms: number | null;
  last_used_unix_ms: number | null;
  revoked: Generated<number>;
}

export interface AuditTable {
  position: number;
  at_unix_ms: number;
  actor: string;
  action: string;
  subject: string;
  detail: string;
  hash: string;
}

export interface CredentialRecordsTable {
  device_id: string;
  verdict: StatementVerdict;
  state: FirstBootState;
  epoch: number;
  flags: Generated<string>;
  stated_unix_ms: number;
}

export interface CredentialsTable {
  device_id: string;
  name: string;
  kind: CredentialEntry['kind'];
  state: CredentialEntry['state'];
  epoch: number;
  fingerprint: string | null;
  made_unix_ms: number | null;
}

export interface StatementsTable {
  id: Generated<number>;
  device_id: string;
  at_unix_ms: number;
  verdict: StatementVerdict;
  flags: string;
  statement: Uint8Array;
  signature: Uint8Array;
  key_sha256: string;
}

export interface Schema {
  credential_records: CredentialRecordsTable;
  credentials: CredentialsTable;
  statements: StatementsTable;
  claims: ClaimsTable;
  nonces: NoncesTable;
  devices: DevicesTable;
  certificates: CertificatesTable;
  device_events: DeviceEventsTable;
  releases: ReleasesTable;
  publications: PublicationsTable;
  rollouts: RolloutsTable;
  rollout_waves: RolloutWavesTable;
  parts: PartsTable;
  exclusions: ExclusionsTable;
  tokens: TokensTable;
  audit: AuditTable;
}
