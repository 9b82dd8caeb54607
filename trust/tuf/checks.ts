/**
 * The single checks of the TUF client workflow, each as a function of what is trusted and what is new. client.ts has
 * their order.
 */
import { sha256Hex, sha512Hex } from '../crypto.ts';
import { accept, type Refusal, refuse, type Verdict } from '../refusal.ts';
import { type MetaFile, type Root, type Snapshot, type Targets, type Timestamp, versionedName } from './metadata.ts';

/** 5.3.11: have the keys been rotated? A threshold alone makes no new keys. */
export function keysChanged(old: Root, next: Root, role: 'timestamp' | 'snapshot'): boolean {
  const before = [...old.roles[role].keyids].sort();
  const after = [...next.roles[role].keyids].sort();
  return before.join() !== after.join();
}

/** 5.4.3.1 and 5.4.3.2. */
export function checkTimestampRollback(trusted: Timestamp, fresh: Timestamp): Refusal | undefined {
  if (fresh.version < trusted.version) {
    return refuse('metadata-version-rollback', `timestamp ${fresh.version}, trusted is ${trusted.version}`);
  }
  const [named, before] = [fresh.meta['snapshot.json'].version, trusted.meta['snapshot.json'].version];
  if (named >= before) return undefined;
  return refuse('metadata-version-rollback', `the timestamp names snapshot ${named}, trusted is ${before}`);
}

/** 5.5.5: no file goes back, and none disappears. */
export function checkSnapshotRollback(trusted: Snapshot, fresh: Snapshot): Refusal | undefined {
  for (const [name, before] of Object.entries(trusted.meta)) {
    const now = Object.hasOwn(fresh.meta, name) ? fresh.meta[name] : undefined;
    if (now === undefined)
      return refuse('metadata-version-rollback', `snapshot ${fresh.version} lists ${name} no more`);
    if (now.version < before.version) {
      return refuse(
        'metadata-version-rollback',
        `the snapshot names ${name} ${now.version}, trusted is ${before.version}`,
      );
    }
  }
  return undefined;
}

/** 5.5.2 and 5.6.2: length and digests, where the file above gives them. */
export function checkMetaFile(due: MetaFile, bytes: Uint8Array): Verdict<null> {
  if (due.length !== undefined && bytes.length !== due.length) {
    return refuse('metadata-hash-mismatch', `${bytes.length} bytes of metadata, ${due.length} are signed for`);
  }
  for (const [name, digest] of Object.entries(due.hashes ?? {})) {
    const actual = name === 'sha256' ? sha256Hex(bytes) : sha512Hex(bytes);
    if (actual !== digest) return refuse('metadata-hash-mismatch', `${name} is ${actual}, signed for is ${digest}`);
  }
  return accept(null);
}

/** 5.5.4 and 5.6.4. */
export function checkVersion(role: 'snapshot' | 'targets', fresh: Snapshot | Targets, due: MetaFile): Verdict<null> {
  if (fresh.version === due.version) return accept(null);
  return refuse('metadata-version-mismatch', `${role} says version ${fresh.version}, ${due.version} is signed for`);
}

/** 5.3.12: the name under which to ask, consistent snapshots or not as the root says. */
export function fileName(root: Root, role: 'snapshot' | 'targets', version: number): string {
  return root.consistent_snapshot ? versionedName(role, version) : `${role}.json`;
}
