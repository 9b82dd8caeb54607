/**
 * The database's shape, one script a version, applied in order in one transaction; `user_version` says how far it is.
 * A script that was released is never edited: a change is a new script.
 */

/** 'HOLD': tells our database from any other SQLite file. */
export const APPLICATION_ID = 0x484f4c44;

const VERSION_1 = `
CREATE TABLE claims (
  claim_id TEXT PRIMARY KEY,
  hardware_class TEXT NOT NULL,
  sealed_secret BLOB NOT NULL,
  expires_unix_ms INTEGER NOT NULL,
  used_by_key TEXT,
  created_unix_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE nonces (
  nonce TEXT PRIMARY KEY,
  claim_id TEXT NOT NULL,
  expires_unix_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX nonces_by_claim ON nonces (claim_id, expires_unix_ms);

CREATE TABLE devices (
  device_id TEXT PRIMARY KEY,
  hardware_class TEXT NOT NULL,
  enrolment TEXT NOT NULL CHECK (enrolment IN ('claimed', 'enrolled', 'revoked')),
  enrolment_since_unix_ms INTEGER NOT NULL,
  channel TEXT,
  agent_version TEXT,
  board TEXT,
  booted_slot TEXT,
  state TEXT,
  state_since_unix_ms INTEGER,
  installed_sequence INTEGER,
  installed_version TEXT,
  installed_since_unix_ms INTEGER,
  floor_sequence INTEGER NOT NULL DEFAULT 0,
  action_id TEXT,
  quarantined TEXT NOT NULL DEFAULT '[]',
  last_seen_unix_ms INTEGER,
  presence TEXT,
  presence_unix_ms INTEGER,
  done_bytes INTEGER NOT NULL DEFAULT 0,
  total_bytes INTEGER NOT NULL DEFAULT 0,
  acknowledged_report INTEGER NOT NULL DEFAULT 0,
  report_epoch INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX devices_by_class ON devices (hardware_class, channel);

CREATE TABLE certificates (
  fingerprint_sha256 TEXT PRIMARY KEY,
  serial TEXT NOT NULL UNIQUE,
  device_id TEXT NOT NULL REFERENCES devices (device_id),
  key_sha256 TEXT NOT NULL,
  chain_pem TEXT NOT NULL,
  not_after_unix_ms INTEGER NOT NULL,
  issued_unix_ms INTEGER NOT NULL,
  revoked_unix_ms INTEGER
) STRICT;
CREATE INDEX certificates_by_device ON certificates (device_id);
CREATE INDEX certificates_by_key ON certificates (key_sha256);

CREATE TABLE device_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  device_id TEXT NOT NULL,
  at_unix_ms INTEGER NOT NULL,
  report_epoch INTEGER,
  report_sequence INTEGER,
  digest TEXT,
  kind TEXT NOT NULL,
  text TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX device_events_once ON device_events (device_id, report_epoch, report_sequence)
  WHERE report_sequence IS NOT NULL;
CREATE INDEX device_events_by_device ON device_events (device_id, id);

CREATE TABLE releases (
  release_path TEXT PRIMARY KEY,
  hardware_class TEXT NOT NULL,
  channel TEXT NOT NULL,
  version TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  floor_sequence INTEGER NOT NULL,
  images TEXT NOT NULL,
  published_unix_ms INTEGER NOT NULL,
  withdrawn INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE rollouts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  release_path TEXT NOT NULL REFERENCES releases (release_path),
  state TEXT NOT NULL CHECK (state IN ('running', 'paused', 'halted', 'complete', 'cancelled')),
  reason TEXT NOT NULL,
  max_failed_percent REAL NOT NULL,
  min_sample INTEGER NOT NULL,
  action_timeout_ms INTEGER NOT NULL,
  whole_class INTEGER NOT NULL,
  created_unix_ms INTEGER NOT NULL,
  created_by TEXT NOT NULL
) STRICT;

CREATE TABLE rollout_waves (
  rollout INTEGER NOT NULL REFERENCES rollouts (id),
  position INTEGER NOT NULL,
  wave TEXT NOT NULL,
  opened_unix_ms INTEGER,
  passed_unix_ms INTEGER,
  PRIMARY KEY (rollout, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE parts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  rollout INTEGER NOT NULL REFERENCES rollouts (id),
  device_id TEXT NOT NULL REFERENCES devices (device_id),
  place_rank INTEGER NOT NULL,
  wave INTEGER NOT NULL,
  state TEXT NOT NULL,
  state_since_unix_ms INTEGER NOT NULL,
  open_unix_ms INTEGER,
  offered_unix_ms INTEGER,
  deadline_unix_ms INTEGER,
  attempted INTEGER NOT NULL DEFAULT 0,
  forgiven INTEGER NOT NULL DEFAULT 0,
  place_taken INTEGER NOT NULL DEFAULT 0,
  detail TEXT NOT NULL DEFAULT '',
  UNIQUE (rollout, device_id)
) STRICT;
CREATE INDEX parts_by_device ON parts (device_id);
CREATE INDEX parts_by_wave ON parts (rollout, wave, place_rank);

CREATE TABLE exclusions (
  rollout INTEGER NOT NULL REFERENCES rollouts (id),
  device_id TEXT NOT NULL,
  why TEXT NOT NULL,
  PRIMARY KEY (device_id, rollout)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
  token_id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'approver', 'admin')),
  token_sha256 TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK (kind IN ('lasting', 'one-time')),
  created_unix_ms INTEGER NOT NULL,
  expires_unix_ms INTEGER,
  last_used_unix_ms INTEGER,
  revoked INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE audit (
  position INTEGER PRIMARY KEY,
  at_unix_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  detail TEXT NOT NULL,
  hash TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT, 'audit entries are never changed'); END;
CREATE TRIGGER audit_is_never_shortened BEFORE DELETE ON audit
  BEGIN SELECT RAISE(ABORT, 'audit entries are never removed'); END;
`;

/**
 * Which targets versions were recorded, for those that a server of version 1 recorded too: it kept them in the words of
 * the audit alone ("targets version 7; new: …").
 */
const VERSION_2 = `
CREATE TABLE publications (
  targets_version INTEGER PRIMARY KEY,
  recorded_unix_ms INTEGER NOT NULL
) STRICT;
INSERT OR IGNORE INTO publications (targets_version, recorded_unix_ms)
  SELECT CAST(substr(detail, length('targets version ') + 1) AS INTEGER), at_unix_ms FROM audit
  WHERE action = 'release.publish' AND detail GLOB 'targets version [0-9]*' ORDER BY position;
`;

/** What a device says that it waits for. */
const VERSION_3 = `
ALTER TABLE devices ADD COLUMN waiting TEXT;
ALTER TABLE devices ADD COLUMN waiting_since_unix_ms INTEGER;
`;

/**
 * What devices state of their credentials. `life` counts the keys under which a device was admitted: with a new key its
 * epochs count from one again.
 */
const VERSION_4 = `
ALTER TABLE devices ADD COLUMN protocol INTEGER;
ALTER TABLE devices ADD COLUMN first_boot_state TEXT;
ALTER TABLE devices ADD COLUMN first_boot_epoch INTEGER;
ALTER TABLE devices ADD COLUMN credential_life INTEGER NOT NULL DEFAULT 1;
ALTER TABLE devices ADD COLUMN hardware_id TEXT;
ALTER TABLE devices ADD COLUMN stated_hardware TEXT;
ALTER TABLE devices ADD COLUMN approved_hardware TEXT;
CREATE INDEX devices_by_hardware ON devices (hardware_id) WHERE hardware_id IS NOT NULL;

ALTER TABLE rollouts ADD COLUMN purpose TEXT NOT NULL DEFAULT 'update'
  CHECK (purpose IN ('update', 'repair', 'security'));

ALTER TABLE certificates ADD COLUMN first_used_unix_ms INTEGER;
ALTER TABLE certificates ADD COLUMN superseded_unix_ms INTEGER;
UPDATE certificates SET first_used_unix_ms = issued_unix_ms;

CREATE TABLE credential_records (
  device_id TEXT PRIMARY KEY REFERENCES devices (device_id),
  verdict TEXT NOT NULL CHECK (verdict IN ('proven', 'factory', 'flagged')),
  state TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  flags TEXT NOT NULL DEFAULT '[]',
  stated_unix_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE credentials (
  device_id TEXT NOT NULL REFERENCES devices (device_id),
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  state TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  fingerprint TEXT,
  made_unix_ms INTEGER,
  PRIMARY KEY (device_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX credentials_by_fingerprint ON credentials (fingerprint) WHERE fingerprint IS NOT NULL;

CREATE TABLE statements (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  device_id TEXT NOT NULL REFERENCES devices (device_id),
  at_unix_ms INTEGER NOT NULL,
  verdict TEXT NOT NULL,
  flags TEXT NOT NULL,
  statement BLOB NOT NULL,
  signature BLOB NOT NULL,
  key_sha256 TEXT NOT NULL
) STRICT;
CREATE INDEX statements_by_device ON statements (device_id, id);

CREATE TABLE re_enrolments (
  device_id TEXT PRIMARY KEY REFERENCES devices (device_id),
  key_sha256 TEXT NOT NULL,
  asked_unix_ms INTEGER NOT NULL,
  approved_unix_ms INTEGER
) STRICT;

CREATE TABLE escrow_blobs (
  device_id TEXT NOT NULL REFERENCES devices (device_id),
  life INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  owners TEXT NOT NULL,
  blob BLOB NOT NULL,
  stored_unix_ms INTEGER NOT NULL,
  PRIMARY KEY (device_id, life, epoch)
) STRICT;

CREATE TABLE escrow_requests (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  device_id TEXT NOT NULL REFERENCES devices (device_id),
  life INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  reason TEXT NOT NULL,
  requested_by TEXT NOT NULL,
  requested_unix_ms INTEGER NOT NULL,
  approved_by TEXT,
  approved_unix_ms INTEGER,
  fetched_unix_ms INTEGER
) STRICT;

CREATE TABLE rotations (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  state TEXT NOT NULL CHECK (state IN ('running', 'paused', 'halted', 'complete', 'cancelled')),
  reason TEXT NOT NULL,
  why TEXT NOT NULL,
  max_failed_percent REAL NOT NULL,
  min_sample INTEGER NOT NULL,
  timeout_ms INTEGER NOT NULL,
  created_unix_ms INTEGER NOT NULL,
  created_by TEXT NOT NULL
) STRICT;

CREATE TABLE rotation_waves (
  rotation INTEGER NOT NULL REFERENCES rotations (id),
  position INTEGER NOT NULL,
  wave TEXT NOT NULL,
  opened_unix_ms INTEGER,
  passed_unix_ms INTEGER,
  PRIMARY KEY (rotation, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE rotation_parts (
  rotation INTEGER NOT NULL REFERENCES rotations (id),
  device_id TEXT NOT NULL REFERENCES devices (device_id),
  place_rank INTEGER NOT NULL,
  wave INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'asked', 'rotated', 'failed', 'called-off')),
  state_since_unix_ms INTEGER NOT NULL,
  open_unix_ms INTEGER,
  deadline_unix_ms INTEGER,
  from_epoch INTEGER,
  forgiven INTEGER NOT NULL DEFAULT 0,
  place_taken INTEGER NOT NULL DEFAULT 0,
  detail TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (rotation, device_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX rotation_parts_open ON rotation_parts (device_id) WHERE state IN ('waiting', 'asked');
CREATE INDEX rotation_parts_pending ON rotation_parts (rotation, wave) WHERE state IN ('waiting', 'asked');
CREATE INDEX rotation_parts_by_wave ON rotation_parts (rotation, wave, place_rank);
`;

/** Several keys may wait for one claim (a card that was copied), and a boot that comes again says that it was. */
const VERSION_5 = `
ALTER TABLE re_enrolments RENAME TO re_enrolments_4;
CREATE TABLE re_enrolments (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  device_id TEXT NOT NULL REFERENCES devices (device_id),
  key_sha256 TEXT NOT NULL,
  asked_unix_ms INTEGER NOT NULL,
  approved_unix_ms INTEGER,
  UNIQUE (device_id, key_sha256)
) STRICT;
INSERT INTO re_enrolments (device_id, key_sha256, asked_unix_ms, approved_unix_ms)
  SELECT device_id, key_sha256, asked_unix_ms, approved_unix_ms FROM re_enrolments_4;
DROP TABLE re_enrolments_4;

ALTER TABLE devices ADD COLUMN report_boot TEXT;
CREATE TABLE device_boots (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  device_id TEXT NOT NULL REFERENCES devices (device_id),
  boot_id TEXT NOT NULL,
  UNIQUE (device_id, boot_id)
) STRICT;
`;

export const MIGRATIONS: readonly string[] = [VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5];
