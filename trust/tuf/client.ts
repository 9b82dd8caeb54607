/** Skeleton; see exports. */
import type { Verified } from '../bytes.ts';
import type { Verdict } from '../refusal.ts';
import type { TrustTime } from '../time.ts';
import type { CanonicalForm, Environment, RoleName, Root, Snapshot, Targets, Timestamp } from './metadata.ts';

export interface MetadataStore {
  read(name: RoleName): Promise<Uint8Array | undefined>;
  /** Durable once it returns. */
  write(name: RoleName, bytes: Uint8Array): Promise<void>;
  remove(name: RoleName): Promise<void>;
}
export interface MetadataSource {
  /** File name as the repository serves it: `2.root.json`, `timestamp.json`, `7.snapshot.json`, `3.targets.json`. */
  fetchMetadata(name: string, capBytes: number): Promise<Verdict<Uint8Array | undefined>>;
}
export interface RefreshMode {
  readonly offline: boolean;
  /** Absent: any environment (conformance only). */
  readonly environment?: Environment;
  readonly canonicalForm: CanonicalForm;
}
export interface RefreshPorts {
  readonly store: MetadataStore;
  readonly source: MetadataSource;
  readonly time: TrustTime;
  readonly mode: RefreshMode;
}
export type Freshness = 'verified' | 'unverified' | 'expired-reported';
export interface TrustedMetadata {
  readonly root: Verified<Root>;
  readonly timestamp: Verified<Timestamp>;
  readonly snapshot: Verified<Snapshot>;
  readonly targets: Verified<Targets>;
  readonly freshness: Freshness;
  /** True when at least one new root was accepted in this run. */
  readonly rootRotated: boolean;
}
export async function refreshMetadata(_ports: RefreshPorts): Promise<Verdict<TrustedMetadata>> {
  throw new Error('not written yet');
}
