/**
 * The TUF client workflow, specification 1.0.34 §5.1 to §5.6, with store, source and time brought in from outside.
 *
 * Invariants: nothing is stored before it is verified, each root is stored as soon as it is, and whatever the store
 * holds is verified again before it counts. At every step the store is one that a next run can begin from. Expiry is
 * judged at one time for the whole run (§5.1). A refusal leaves what was trusted before in place.
 * May not: read a clock, write elsewhere than through the store, fetch a target.
 *
 * The trusted root of the factory image is put into the store by the caller: it is trusted by its place.
 * Deviations: offline, an expired timestamp or snapshot is reported (see docs/adr); without a synchronised clock the
 * time floor judges, and the result says so.
 */
import type { Verified } from '../bytes.ts';
import { accept, refuse, type Verdict } from '../refusal.ts';
import { decodeTufDate, hasExpired, type JudgedTime, judgeTime, type TrustTime } from '../time.ts';
import {
  checkMetaFile,
  checkSnapshotRollback,
  checkTimestampRollback,
  checkVersion,
  fileName,
  keysChanged,
} from './checks.ts';
import {
  type AnyRole,
  type CanonicalForm,
  decodeMetadata,
  type Environment,
  METADATA_CAP_BYTES,
  type RoleName,
  type RoleTypes,
  type Root,
  type Snapshot,
  type Targets,
  type Timestamp,
  verifyThreshold,
  versionedName,
} from './metadata.ts';
import { verifyOwnRoot, verifyRootStep } from './root-step.ts';

/** TUF 5.3.3 Y. A device that is further behind comes back: each step was stored. */
export const MAX_ROOT_STEPS = 256;

/** Trusted metadata, one file per role. */
export interface MetadataStore {
  read(name: RoleName): Promise<Uint8Array | undefined>;
  /** Durable, and either the old or the new one whatever happens in between. */
  write(name: RoleName, bytes: Uint8Array): Promise<void>;
  /** Durable; nothing happens when there is none. */
  remove(name: RoleName): Promise<void>;
}

export interface MetadataSource {
  /**
   * A file by the name under which a repository serves it: `2.root.json`, `timestamp.json`, `7.snapshot.json`.
   * Undefined when the source has none. Reads at most `capBytes` + 1 bytes.
   */
  fetchMetadata(name: string, capBytes: number): Promise<Verdict<Uint8Array | undefined>>;
}

export interface RefreshMode {
  /** A directory as source and a person present: an expired timestamp or snapshot is reported, not refused. */
  readonly offline: boolean;
  /** Which environment this device takes; absent in conformance suites only. */
  readonly environment?: Environment;
  readonly canonicalForm: CanonicalForm;
}

export interface RefreshPorts {
  readonly store: MetadataStore;
  readonly source: MetadataSource;
  readonly time: TrustTime;
  readonly mode: RefreshMode;
}

/** `unverified`: nothing had expired at the floor, and no synchronised clock could say more. */
export type Freshness = 'verified' | 'unverified' | 'expired-reported';

export interface TrustedMetadata {
  readonly root: Verified<Root>;
  readonly timestamp: Verified<Timestamp>;
  readonly snapshot: Verified<Snapshot>;
  readonly targets: Verified<Targets>;
  readonly freshness: Freshness;
  /** True when this run accepted at least one new root. */
  readonly rootRotated: boolean;
}

/** Brings the trusted metadata up to date. A refusal names the first check that failed. Rejects when a port throws. */
export async function refreshMetadata(ports: RefreshPorts): Promise<Verdict<TrustedMetadata>> {
  return new Refresh(ports).run();
}

/**
 * The root chain alone (§5.2, §5.3), for what a root says of servers and owners: a timestamp that has expired does not
 * stand in its way. Refuses and rejects as `refreshMetadata` does.
 */
export async function refreshRoot(ports: RefreshPorts): Promise<Verdict<Verified<Root>>> {
  const updated = await new Refresh(ports).updateRoot();
  return updated.ok ? accept(updated.value.root) : updated;
}

class Refresh {
  readonly #ports: RefreshPorts;
  readonly #now: JudgedTime;
  #expiredReported = false;

  constructor(ports: RefreshPorts) {
    this.#ports = ports;
    // TUF 5.1: one time for the whole run.
    this.#now = judgeTime(ports.time);
  }

  async run(): Promise<Verdict<TrustedMetadata>> {
    const root = await this.updateRoot();
    if (!root.ok) return root;
    const timestamp = await this.#updateTimestamp(root.value.root);
    if (!timestamp.ok) return timestamp;
    const snapshot = await this.#updateSnapshot(root.value.root, timestamp.value);
    if (!snapshot.ok) return snapshot;
    const targets = await this.#updateTargets(root.value.root, snapshot.value);
    if (!targets.ok) return targets;
    return accept({
      root: root.value.root,
      timestamp: timestamp.value,
      snapshot: snapshot.value,
      targets: targets.value,
      freshness: this.#freshness(),
      rootRotated: root.value.steps > 0,
    });
  }

  #freshness(): Freshness {
    if (this.#expiredReported) return 'expired-reported';
    return this.#now.synchronised ? 'verified' : 'unverified';
  }

  // --- §5.2, §5.3 root -------------------------------------------------------------------------------------------

  async updateRoot(): Promise<Verdict<{ readonly root: Verified<Root>; readonly steps: number }>> {
    const loaded = await this.#loadRoot();
    if (!loaded.ok) return loaded;
    let root = loaded.value;
    let steps = 0;
    for (;;) {
      // 5.3.3: version N+1, by its versioned name. None there: the chain ends.
      const bytes = await this.#fetch('root', versionedName('root', root.version + 1));
      if (!bytes.ok) return bytes;
      if (bytes.value === undefined) break;
      if (steps === MAX_ROOT_STEPS) {
        return refuse('root-chain-too-long', `more than ${MAX_ROOT_STEPS} roots in one run; run again to go on`);
      }
      const next = verifyRootStep(root, bytes.value, this.#ports.mode);
      if (!next.ok) return next;
      await this.#acceptRoot(root, next.value, bytes.value);
      root = next.value;
      steps += 1;
    }
    // 5.3.10: only the last root must be unexpired (5.3.6).
    const expiry = this.#checkExpiry('root', root);
    return expiry.ok ? accept({ root, steps }) : expiry;
  }

  /** 5.2: the trusted root. Its own signatures are checked all the same: a damaged file must not count as trust. */
  async #loadRoot(): Promise<Verdict<Verified<Root>>> {
    const bytes = await this.#ports.store.read('root');
    if (bytes === undefined) return refuse('metadata-missing', 'there is no trusted root to begin from');
    return verifyOwnRoot(bytes, this.#ports.mode);
  }

  /**
   * 5.3.8 and 5.3.11. The old timestamp and snapshot go first: a power cut in between leaves an old root and no
   * timestamp, from which the next run does the same again. The other way round it would leave a new root and a
   * timestamp of revoked keys, which a later run could not tell from a good one while one key is still shared.
   */
  async #acceptRoot(old: Root, next: Root, bytes: Uint8Array): Promise<void> {
    if (keysChanged(old, next, 'timestamp') || keysChanged(old, next, 'snapshot')) {
      await this.#ports.store.remove('timestamp');
      await this.#ports.store.remove('snapshot');
    }
    await this.#ports.store.write('root', bytes);
  }

  // --- §5.4 timestamp --------------------------------------------------------------------------------------------

  async #updateTimestamp(root: Verified<Root>): Promise<Verdict<Verified<Timestamp>>> {
    // 5.4.1
    const bytes = await this.#fetchDue('timestamp', 'timestamp.json');
    if (!bytes.ok) return bytes;
    // 5.4.2
    const fresh = this.#verify(root, 'timestamp', bytes.value);
    if (!fresh.ok) return fresh;
    const trusted = await this.#loadTrusted(root, 'timestamp');
    // 5.4.3.1: the same version again is no news, and no error: the trusted one goes on to count.
    const same = trusted !== undefined && trusted.version === fresh.value.version;
    const current = same ? trusted : fresh.value;
    if (trusted !== undefined) {
      const rollback = checkTimestampRollback(trusted, fresh.value);
      if (rollback !== undefined) return rollback;
    }
    // 5.4.4
    const expiry = this.#checkExpiry('timestamp', current);
    if (!expiry.ok) return expiry;
    // 5.4.5
    if (!same) await this.#ports.store.write('timestamp', bytes.value);
    return accept(current);
  }

  // --- §5.5 snapshot ---------------------------------------------------------------------------------------------

  async #updateSnapshot(root: Verified<Root>, timestamp: Timestamp): Promise<Verdict<Verified<Snapshot>>> {
    const due = timestamp.meta['snapshot.json'];
    const trusted = await this.#loadTrusted(root, 'snapshot');
    const trustedBytes = trusted === undefined ? undefined : await this.#ports.store.read('snapshot');
    if (trusted?.version === due.version && trustedBytes !== undefined && checkMetaFile(due, trustedBytes).ok) {
      const expiry = this.#checkExpiry('snapshot', trusted);
      return expiry.ok ? accept(trusted) : expiry;
    }
    // 5.5.1
    const bytes = await this.#fetchDue('snapshot', fileName(root, 'snapshot', due.version));
    if (!bytes.ok) return bytes;
    // 5.5.2
    const named = checkMetaFile(due, bytes.value);
    if (!named.ok) return named;
    // 5.5.3
    const fresh = this.#verify(root, 'snapshot', bytes.value);
    if (!fresh.ok) return fresh;
    // 5.5.4
    const version = checkVersion('snapshot', fresh.value, due);
    if (!version.ok) return version;
    // 5.5.5
    const rollback = trusted === undefined ? undefined : checkSnapshotRollback(trusted, fresh.value);
    if (rollback !== undefined) return rollback;
    // 5.5.6
    const expiry = this.#checkExpiry('snapshot', fresh.value);
    if (!expiry.ok) return expiry;
    // 5.5.7
    await this.#ports.store.write('snapshot', bytes.value);
    return fresh;
  }

  // --- §5.6 targets ----------------------------------------------------------------------------------------------

  async #updateTargets(root: Verified<Root>, snapshot: Snapshot): Promise<Verdict<Verified<Targets>>> {
    const due = snapshot.meta['targets.json'];
    const trustedBytes = await this.#ports.store.read('targets');
    const trusted = trustedBytes === undefined ? undefined : this.#verify(root, 'targets', trustedBytes);
    if (trusted?.ok && trustedBytes !== undefined && trusted.value.version === due.version) {
      const expiry = this.#checkExpiry('targets', trusted.value);
      if (checkMetaFile(due, trustedBytes).ok) return expiry.ok ? trusted : expiry;
    }
    // 5.6.1
    const bytes = await this.#fetchDue('targets', fileName(root, 'targets', due.version));
    if (!bytes.ok) return bytes;
    // 5.6.2
    const named = checkMetaFile(due, bytes.value);
    if (!named.ok) return named;
    // 5.6.3
    const fresh = this.#verify(root, 'targets', bytes.value);
    if (!fresh.ok) return fresh;
    // 5.6.4
    const version = checkVersion('targets', fresh.value, due);
    if (!version.ok) return version;
    // 5.6.5
    const expiry = this.#checkExpiry('targets', fresh.value);
    if (!expiry.ok) return expiry;
    // 5.6.6
    await this.#ports.store.write('targets', bytes.value);
    return fresh;
  }

  // --- shared ----------------------------------------------------------------------------------------------------

  async #fetch(role: RoleName, name: string): Promise<Verdict<Uint8Array | undefined>> {
    const capBytes = METADATA_CAP_BYTES[role];
    const answer = await this.#ports.source.fetchMetadata(name, capBytes);
    if (!answer.ok || answer.value === undefined || answer.value.length <= capBytes) return answer;
    return refuse('input-too-large', `${name} has more than ${capBytes} bytes`);
  }

  async #fetchDue(role: RoleName, name: string): Promise<Verdict<Uint8Array>> {
    const answer = await this.#fetch(role, name);
    if (!answer.ok) return answer;
    return answer.value === undefined ? refuse('metadata-missing', `the source has no ${name}`) : accept(answer.value);
  }

  #verify<R extends RoleName>(root: Root, role: R, bytes: Uint8Array): Verdict<Verified<RoleTypes[R]>> {
    const file = decodeMetadata(role, bytes, this.#ports.mode);
    return file.ok ? verifyThreshold(root, role, file.value) : file;
  }

  /**
   * What the store holds, if today's root still vouches for it. A file that it does not vouch for is one of revoked
   * keys or a damaged one, and protects from nothing (5.3.11).
   */
  async #loadTrusted<R extends 'timestamp' | 'snapshot'>(
    root: Root,
    role: R,
  ): Promise<Verified<RoleTypes[R]> | undefined> {
    const bytes = await this.#ports.store.read(role);
    if (bytes === undefined) return undefined;
    const trusted = this.#verify(root, role, bytes);
    return trusted.ok ? trusted.value : undefined;
  }

  #checkExpiry(role: RoleName, signed: AnyRole): Verdict<null> {
    const expiresUnixS = decodeTufDate(signed.expires);
    if (expiresUnixS !== undefined && !hasExpired(expiresUnixS, this.#now)) return accept(null);
    if (this.#ports.mode.offline && (role === 'timestamp' || role === 'snapshot')) {
      this.#expiredReported = true;
      return accept(null);
    }
    const judge = this.#now.synchronised ? 'the clock' : 'the time floor';
    return refuse('metadata-expired', `${role} ${signed.version} expired at ${signed.expires}, says ${judge}`);
  }
}
