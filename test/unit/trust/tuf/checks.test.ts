import { describe, expect, it } from 'vitest';
import { sha256Hex } from '../../../../trust/crypto.ts';
import {
  checkMetaFile,
  checkSnapshotRollback,
  checkTimestampRollback,
  checkVersion,
} from '../../../../trust/tuf/checks.ts';
import type { Snapshot, Timestamp } from '../../../../trust/tuf/metadata.ts';

const COMMON = { spec_version: '1.0.34', expires: '2030-01-01T00:00:00Z' } as const;

function timestamp(version: number, snapshot: number): Timestamp {
  return { _type: 'timestamp', ...COMMON, version, meta: { 'snapshot.json': { version: snapshot } } };
}

function snapshot(version: number, targets: number): Snapshot {
  return { _type: 'snapshot', ...COMMON, version, meta: { 'targets.json': { version: targets } } };
}

describe('each check alone, so that no other one can stand in for it', () => {
  it('refuses an older timestamp, though it names a newer snapshot', () => {
    expect(checkTimestampRollback(timestamp(5, 5), timestamp(4, 6))?.code).toBe('metadata-version-rollback');
    expect(checkTimestampRollback(timestamp(5, 5), timestamp(5, 6))).toBeUndefined();
  });

  it('refuses a newer timestamp that names an older snapshot', () => {
    expect(checkTimestampRollback(timestamp(5, 5), timestamp(6, 4))?.code).toBe('metadata-version-rollback');
    expect(checkTimestampRollback(timestamp(5, 5), timestamp(6, 5))).toBeUndefined();
  });

  it('refuses a newer snapshot that names older targets', () => {
    expect(checkSnapshotRollback(snapshot(5, 5), snapshot(6, 4))?.code).toBe('metadata-version-rollback');
    expect(checkSnapshotRollback(snapshot(5, 5), snapshot(6, 5))).toBeUndefined();
  });

  it('refuses another version than the one that is named', () => {
    expect(checkVersion('snapshot', snapshot(6, 5), { version: 5 })).toMatchObject({
      code: 'metadata-version-mismatch',
    });
    expect(checkVersion('snapshot', snapshot(5, 5), { version: 5 }).ok).toBe(true);
  });

  it('refuses another length, and another digest of the same length', () => {
    const bytes = new TextEncoder().encode('metadata');
    const due = { version: 1, length: bytes.length, hashes: { sha256: sha256Hex(bytes) } };
    expect(checkMetaFile(due, bytes).ok).toBe(true);
    expect(checkMetaFile({ ...due, length: bytes.length + 1 }, bytes)).toMatchObject({
      code: 'metadata-hash-mismatch',
    });
    const other = { ...due, hashes: { sha256: sha256Hex(new Uint8Array(8)) } };
    expect(checkMetaFile(other, bytes)).toMatchObject({ code: 'metadata-hash-mismatch' });
  });
});
