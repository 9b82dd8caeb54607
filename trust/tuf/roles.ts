/**
 * The roles of TUF 1.0.34 as Holdfast writes them: types with members named as in the files, and the caps of the files.
 * Everybody outside trust/tuf/ imports them through metadata.ts.
 */

export const SPEC_VERSION = '1.0.34';

/** No metadata file is read beyond these (TUF 5.3.3 W, 5.4.1 X, 5.5.1 Y, 5.6.1 Z). */
export const METADATA_CAP_BYTES = {
  root: 64 * 1024,
  timestamp: 16 * 1024,
  snapshot: 16 * 1024,
  targets: 1024 * 1024,
} as const;

export type RoleName = 'root' | 'timestamp' | 'snapshot' | 'targets';
export const ROLE_NAMES = ['root', 'timestamp', 'snapshot', 'targets'] as const;

export type Environment = 'production' | 'lab' | 'rehearsal';
export const ENVIRONMENTS = ['production', 'lab', 'rehearsal'] as const;

/**
 * `required`, everywhere but in conformance suites: the bytes of `signed` as received must be its canonical form, key
 * ids must be computed, Holdfast's own members must stand. `recomputed` reads any TUF repository with Ed25519 keys.
 */
export type CanonicalForm = 'required' | 'recomputed';

export interface TufKey {
  readonly keytype: string;
  readonly scheme: string;
  readonly keyval: { readonly public: string };
}

export interface RoleKeys {
  readonly keyids: readonly string[];
  readonly threshold: number;
}

export interface Author {
  /** Hex SHA-256 of the raw public key. */
  readonly keyId: string;
  readonly algorithm: 'ed25519' | 'esp256';
  /** Hex: the 32 bytes of Ed25519, or the 65 of an uncompressed P-256 point. */
  readonly publicKey: string;
  /** Class names, or exactly `['*']`. */
  readonly hardwareClasses: readonly string[];
}

export interface ServerAddress {
  readonly url: string;
  readonly mqttUrl: string | null;
  /** Certificates: base64 of the DER form on one line, see anchors.ts (canonical JSON has no line breaks). */
  readonly anchors: readonly string[];
}

export interface HoldfastRoot {
  readonly environment: Environment;
  readonly authors: readonly Author[];
  readonly servers: readonly ServerAddress[];
  /** X25519 public keys of the owners, hex: what devices seal to (protocol/escrow.ts). */
  readonly escrowKeys: readonly string[];
}

interface CommonMembers {
  readonly spec_version: string;
  readonly version: number;
  /** `YYYY-MM-DDTHH:MM:SSZ`. */
  readonly expires: string;
}

export interface Root extends CommonMembers {
  readonly _type: 'root';
  readonly consistent_snapshot: boolean;
  readonly keys: Readonly<Record<string, TufKey>>;
  readonly roles: Readonly<Record<RoleName, RoleKeys>>;
  readonly holdfast: HoldfastRoot;
}

export interface MetaFile {
  readonly version: number;
  readonly length?: number;
  readonly hashes?: Readonly<Record<string, string>>;
}

export interface Timestamp extends CommonMembers {
  readonly _type: 'timestamp';
  readonly meta: { readonly 'snapshot.json': MetaFile };
}

export interface Snapshot extends CommonMembers {
  readonly _type: 'snapshot';
  readonly meta: Readonly<Record<string, MetaFile>> & { readonly 'targets.json': MetaFile };
}

export interface ReleaseImageEntry {
  readonly component: string;
  readonly sizeBytes: number;
  /** Hex, of the whole image. */
  readonly sha256: string;
  /** Target path of the image. */
  readonly image: string;
  /** Target path of its block map. */
  readonly blockMap: string;
}

/** What the targets keys say of a release; the author says the same in SUIT, and the two must agree. */
export interface ReleaseEntry {
  readonly kind: 'release';
  readonly vendor: string;
  readonly hardwareClass: string;
  readonly channel: string;
  readonly version: string;
  readonly sequence: number;
  readonly floorSequence: number;
  readonly buildUnixS: number;
  readonly images: readonly ReleaseImageEntry[];
}

export type HoldfastTarget = ReleaseEntry | { readonly kind: 'image' } | { readonly kind: 'block-map' };

export interface TargetFile {
  readonly length: number;
  readonly hashes: Readonly<Record<string, string>> & { readonly sha256: string };
  readonly custom?: { readonly holdfast?: HoldfastTarget };
}

export interface Targets extends CommonMembers {
  readonly _type: 'targets';
  readonly targets: Readonly<Record<string, TargetFile>>;
}

export interface RoleTypes {
  readonly root: Root;
  readonly timestamp: Timestamp;
  readonly snapshot: Snapshot;
  readonly targets: Targets;
}

export type AnyRole = Root | Timestamp | Snapshot | Targets;

export interface MetadataSignature {
  readonly keyid: string;
  /** Hex. */
  readonly sig: string;
}

export interface Signed<T> {
  readonly signatures: readonly MetadataSignature[];
  readonly signed: T;
  /** The bytes that the signatures cover: those received, or the canonical form in `recomputed` mode. */
  readonly signedBytes: Uint8Array;
}
