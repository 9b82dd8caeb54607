/** Skeleton; see exports. */
import type { Decoded, Verified } from '../bytes.ts';
import type { JsonObject } from '../json.ts';
import type { Verdict } from '../refusal.ts';

export const SPEC_VERSION = '1.0.34';
export const METADATA_CAP_BYTES = {
  root: 64 * 1024,
  timestamp: 16 * 1024,
  snapshot: 16 * 1024,
  targets: 1024 * 1024,
} as const;

export type RoleName = 'root' | 'timestamp' | 'snapshot' | 'targets';
export const ROLE_NAMES = ['root', 'timestamp', 'snapshot', 'targets'] as const;
export type Environment = 'production' | 'lab' | 'rehearsal';
/** `required`: the bytes of `signed` as received must be the canonical form. `recomputed`: conformance suites only. */
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
  /** Hex: 32 bytes, or the 65 bytes of an uncompressed point. */
  readonly publicKey: string;
  /** Class names, or exactly `['*']`. */
  readonly hardwareClasses: readonly string[];
}
export interface ServerAddress {
  readonly url: string;
  readonly mqttUrl: string | null;
  /** PEM certificates. */
  readonly anchors: readonly string[];
}
export interface HoldfastRoot {
  readonly environment: Environment;
  readonly authors: readonly Author[];
  readonly servers: readonly ServerAddress[];
  readonly escrowKeys: readonly string[];
}

interface Common {
  readonly spec_version: string;
  readonly version: number;
  /** `YYYY-MM-DDTHH:MM:SSZ`. */
  readonly expires: string;
}
export interface Root extends Common {
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
export interface Timestamp extends Common {
  readonly _type: 'timestamp';
  readonly meta: { readonly 'snapshot.json': MetaFile };
}
export interface Snapshot extends Common {
  readonly _type: 'snapshot';
  readonly meta: Readonly<Record<string, MetaFile>> & { readonly 'targets.json': MetaFile };
}
export interface ReleaseImageEntry {
  readonly component: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** Target path of the image. */
  readonly image: string;
  /** Target path of its block map. */
  readonly blockMap: string;
}
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
  readonly custom?: { readonly holdfast: HoldfastTarget };
}
export interface Targets extends Common {
  readonly _type: 'targets';
  readonly targets: Readonly<Record<string, TargetFile>>;
}

export interface MetadataSignature {
  readonly keyid: string;
  /** Hex. */
  readonly sig: string;
}
export interface RoleTypes {
  root: Root;
  timestamp: Timestamp;
  snapshot: Snapshot;
  targets: Targets;
}
export interface Signed<T> {
  readonly signatures: readonly MetadataSignature[];
  readonly signed: T;
  /** The bytes that the signatures cover. */
  readonly signedBytes: Uint8Array;
}

/** Hex SHA-256 of the key's canonical JSON (TUF §4.2). */
export function tufKeyId(_key: TufKey): string {
  throw new Error('not written yet');
}
export function tufKeyOf(_publicKey: Uint8Array): TufKey {
  throw new Error('not written yet');
}
/** Decodes one metadata file of the named role. */
export function decodeMetadata<R extends RoleName>(
  _role: R,
  _bytes: Uint8Array,
  _options: { readonly canonicalForm: CanonicalForm },
): Verdict<Decoded<Signed<RoleTypes[R]>>> {
  throw new Error('not written yet');
}
/** The bytes to sign. */
export function signedBytes(_signed: Root | Timestamp | Snapshot | Targets): Uint8Array {
  throw new Error('not written yet');
}
/** The file: canonical JSON of `{signatures, signed}`. */
export function encodeMetadata(
  _signed: Root | Timestamp | Snapshot | Targets,
  _signatures: readonly MetadataSignature[],
): Uint8Array {
  throw new Error('not written yet');
}
/** Do enough different keys of `role`, as `root` names them, sign these bytes? */
export function verifyThreshold<T>(
  _root: Pick<Root, 'keys' | 'roles'>,
  _role: RoleName,
  _file: Signed<T>,
): Verdict<Verified<T>> {
  throw new Error('not written yet');
}
/** `dir/<sha256>.<file>` (TUF §6.2). */
export function consistentPath(_targetPath: string, _sha256Hex: string): string {
  throw new Error('not written yet');
}
export type { JsonObject };
