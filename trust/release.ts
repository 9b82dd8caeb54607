/** Skeleton; see exports. */
import type { Verified } from './bytes.ts';
import type { Verdict } from './refusal.ts';
import { consistentPath, type Root, type Targets } from './tuf/metadata.ts';

export { consistentPath };

export interface ReleaseImage {
  readonly component: string;
  readonly sizeBytes: number;
  /** Hex. */
  readonly sha256: string;
  readonly targetPath: string;
  readonly blockMap: { readonly targetPath: string; readonly sizeBytes: number; readonly sha256: string };
}
export interface Release {
  readonly releasePath: string;
  readonly vendor: string;
  readonly hardwareClass: string;
  readonly channel: string;
  readonly version: string;
  readonly sequence: number;
  readonly floorSequence: number;
  readonly buildUnixS: number;
  readonly authorKeyId: string;
  readonly images: readonly ReleaseImage[];
}
export interface DeviceIdentity {
  readonly vendor: string;
  readonly hardwareClass: string;
  readonly channel: string;
}
export interface ReleaseCheck {
  readonly root: Verified<Root>;
  readonly targets: Verified<Targets>;
  readonly releasePath: string;
  readonly envelope: Uint8Array;
  readonly device: DeviceIdentity;
  readonly installedSequence: number;
  readonly floorSequence: number;
}
export function verifyRelease(_check: ReleaseCheck): Verdict<Verified<Release>> {
  throw new Error('not written yet');
}
export interface TargetDescription {
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly consistentPath: string;
}
/** Where a listed target stands, and what it must be; `target-unknown` when the targets do not list it. */
export function findTarget(_targets: Verified<Targets>, _targetPath: string): Verdict<TargetDescription> {
  throw new Error('not written yet');
}
