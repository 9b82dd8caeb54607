/** Skeleton; see exports. */
import type { Decoded } from '../bytes.ts';
import type { Verdict } from '../refusal.ts';

export interface ManifestImage {
  /** Component name: `boot`, `rootfs`. */
  readonly component: string;
  readonly sizeBytes: number;
  /** Hex. */
  readonly sha256: string;
  /** Target path of the image. */
  readonly uri: string;
}
export interface ManifestDescription {
  readonly vendor: string;
  readonly hardwareClass: string;
  readonly channel: string;
  readonly version: string;
  readonly sequence: number;
  readonly floorSequence: number;
  readonly buildUnixS: number;
  readonly images: readonly ManifestImage[];
}
/** What a decoded manifest says. Vendor and class are UUIDs here: names cannot be read back from them. */
export interface Manifest {
  readonly vendorId: Uint8Array;
  readonly classId: Uint8Array;
  readonly channel: string;
  readonly version: string;
  readonly sequence: number;
  readonly floorSequence: number;
  readonly buildUnixS: number;
  readonly images: readonly ManifestImage[];
}
export function encodeManifest(_description: ManifestDescription): Uint8Array {
  throw new Error('not written yet');
}
export function decodeManifest(_bytes: Uint8Array): Verdict<Decoded<Manifest>> {
  throw new Error('not written yet');
}
