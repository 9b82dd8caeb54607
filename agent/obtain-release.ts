/** Skeleton: the types stand, the body follows. */
import type { BlockMap } from '../trust/blocks.ts';
import type { Verified } from '../trust/bytes.ts';
import type { Verdict } from '../trust/refusal.ts';
import type { Release } from '../trust/release.ts';
import type { TrustedMetadata } from '../trust/tuf/client.ts';
import type { EnginePorts, EngineSettings } from './core/ports.ts';

export type ObtainPorts = Pick<EnginePorts, 'disk' | 'clock' | 'source' | 'log'>;
export interface ObtainSettings extends Pick<EngineSettings, 'device' | 'stateDirectory' | 'factoryRootPath'> {
  /** A person stands before the device with a directory: expired timestamp and snapshot are reported, not refused. */
  readonly offline?: boolean;
}

export interface ObtainedRelease {
  readonly release: Verified<Release>;
  /** By component. */
  readonly blockMaps: ReadonlyMap<string, BlockMap>;
  readonly trusted: TrustedMetadata;
}

export function obtainRelease(
  _ports: ObtainPorts,
  _settings: ObtainSettings,
  _releasePath: string,
  _installedSequence: number,
  _floorSequence: number,
): Promise<Verdict<ObtainedRelease>> {
  throw new Error('not built yet');
}

export interface VerifiedImages {
  readonly images: readonly { readonly component: string; readonly sizeBytes: number; readonly sha256: string }[];
}

export function verifyImages(
  _ports: Pick<EnginePorts, 'source'>,
  _obtained: ObtainedRelease,
): Promise<Verdict<VerifiedImages>> {
  throw new Error('not built yet');
}
