/**
 * From a release's path to something that may be installed: metadata, envelope, verification, block maps. The same for
 * the engine and for `holdfast-agent verify`; for a server and for a directory.
 *
 * Invariants: nothing is returned that verifyRelease did not accept; block maps are targets of the same signed
 * targets file, capped at their signed size and checked before they are decoded.
 * May not: write to a slot, raise a counter. Metadata that verified is stored (that is what rollback protection is).
 */
import { BLOCK_MAP_CAP_BYTES, type BlockMap, blockSizeBytes, decodeBlockMap, verifyBlock } from '../trust/blocks.ts';
import { hex, type Verified } from '../trust/bytes.ts';
import { Sha256, sha256Hex } from '../trust/crypto.ts';
import { accept, refuse, type Verdict } from '../trust/refusal.ts';
import { findTarget, type Release, type ReleaseImage, verifyRelease } from '../trust/release.ts';
import { ENVELOPE_CAP_BYTES } from '../trust/suit/envelope.ts';
import { type RefreshPorts, refreshMetadata, refreshRoot, type TrustedMetadata } from '../trust/tuf/client.ts';
import { releasesOf } from '../trust/tuf/listing.ts';
import type { Root, Targets } from '../trust/tuf/metadata.ts';
import { type EnginePorts, type EngineSettings, SourceUnreachable } from './core/ports.ts';
import { countersRecord } from './storage/counters.ts';
import { DiskMetadataStore } from './storage/metadata-store.ts';

export type ObtainPorts = Pick<EnginePorts, 'disk' | 'clock' | 'source' | 'log'>;
export type ObtainSettings = Pick<EngineSettings, 'device' | 'stateDirectory' | 'factoryRootPath' | 'offline'>;

export interface ObtainedRelease {
  readonly release: Verified<Release>;
  /** By component; one for every image of the release. */
  readonly blockMaps: ReadonlyMap<string, BlockMap>;
  readonly trusted: TrustedMetadata;
}

/**
 * Refreshes metadata and verifies the release at `releasePath` (a TUF target path) against the sequence that is
 * installed and the floor. Throws SourceUnreachable when the source is away, Fault when the factory root is missing.
 */
export async function obtainRelease(
  ports: ObtainPorts,
  settings: ObtainSettings,
  releasePath: string,
  installedSequence: number,
  floorSequence: number,
): Promise<Verdict<ObtainedRelease>> {
  const refreshed = await refresh(ports, settings);
  if (!refreshed.ok) return refreshed;
  const { root, targets } = refreshed.value;

  // Size and digest of the envelope are verifyRelease's to judge.
  const envelope = await fetchListed(ports, targets, releasePath, ENVELOPE_CAP_BYTES);
  if (!envelope.ok) return envelope;
  const release = verifyRelease({
    root,
    targets,
    releasePath,
    envelope: envelope.value,
    device: settings.device,
    installedSequence,
    floorSequence,
  });
  if (!release.ok) return release;

  const blockMaps = await fetchBlockMaps(ports, targets, release.value.images);
  if (!blockMaps.ok) return blockMaps;
  return accept({ release: release.value, blockMaps: blockMaps.value, trusted: refreshed.value });
}

/**
 * What the source has for this device: the release at `wanted`, or the newest of its class and channel whose envelope is
 * there (a stick rarely carries everything that the signed targets list). Only a name to ask for: `obtainRelease`
 * verifies it. Throws as that does.
 */
export async function findRelease(
  ports: ObtainPorts,
  settings: ObtainSettings,
  wanted: string | undefined,
): Promise<Verdict<{ readonly releasePath: string; readonly sequence: number; readonly version: string }>> {
  const refreshed = await refresh(ports, settings);
  if (!refreshed.ok) return refreshed;
  const { hardwareClass, channel } = settings.device;
  const { targets } = refreshed.value;
  for (const { releasePath, entry } of releasesOf(targets).toReversed()) {
    const fits = entry.hardwareClass === hardwareClass && entry.channel === channel;
    if (wanted === undefined ? !fits : releasePath !== wanted) continue;
    const { sequence, version } = entry;
    if (wanted !== undefined || (await isThere(ports, targets, releasePath))) {
      return accept({ releasePath, sequence, version });
    }
  }
  const what = wanted ?? `any release for class ${hardwareClass} in channel ${channel} whose files are there`;
  return refuse('target-unknown', `the signed targets do not list ${what}`);
}

async function isThere(
  ports: Pick<EnginePorts, 'source'>,
  targets: Verified<Targets>,
  releasePath: string,
): Promise<boolean> {
  try {
    return (await fetchListed(ports, targets, releasePath, ENVELOPE_CAP_BYTES)).ok;
  } catch (error) {
    if (error instanceof SourceUnreachable) return false;
    throw error;
  }
}

/** The newest root that the source has, verified step by step and stored. Throws as `obtainRelease` does. */
export async function refreshTrustedRoot(
  ports: ObtainPorts,
  settings: ObtainSettings,
): Promise<Verdict<Verified<Root>>> {
  return refreshRoot(await refreshPorts(ports, settings));
}

async function refresh(ports: ObtainPorts, settings: ObtainSettings): Promise<Verdict<TrustedMetadata>> {
  return refreshMetadata(await refreshPorts(ports, settings));
}

async function refreshPorts(ports: ObtainPorts, settings: ObtainSettings): Promise<RefreshPorts> {
  const { disk, clock, log } = ports;
  const { stateDirectory, factoryRootPath } = settings;
  const counters = await countersRecord(disk, stateDirectory).read();
  const nowMs = clock.wallUnixMs();
  return {
    store: await DiskMetadataStore.open({ disk, stateDirectory, factoryRootPath, log }),
    source: ports.source,
    time: {
      floorUnixS: counters.found === 'whole' ? counters.value.timeFloorUnixS : 0,
      synchronisedUnixS: nowMs === undefined ? undefined : Math.floor(nowMs / 1000),
    },
    mode: { offline: settings.offline ?? false, environment: settings.device.environment, canonicalForm: 'required' },
  };
}

/** A small target, whole, at most of its signed size and the cap. */
async function fetchListed(
  ports: Pick<EnginePorts, 'source'>,
  targets: Verified<Targets>,
  targetPath: string,
  capBytes: number,
): Promise<Verdict<Uint8Array>> {
  const target = findTarget(targets, targetPath);
  if (!target.ok) return target;
  const { sizeBytes, consistentPath } = target.value;
  if (sizeBytes > capBytes) return refuse('input-too-large', `${targetPath}: ${sizeBytes} bytes, at most ${capBytes}`);
  return ports.source.fetchTarget(consistentPath, sizeBytes);
}

async function fetchBlockMaps(
  ports: Pick<EnginePorts, 'source'>,
  targets: Verified<Targets>,
  images: readonly ReleaseImage[],
): Promise<Verdict<Map<string, BlockMap>>> {
  const blockMaps = new Map<string, BlockMap>();
  for (const image of images) {
    const bytes = await fetchListed(ports, targets, image.blockMap.targetPath, BLOCK_MAP_CAP_BYTES);
    if (!bytes.ok) return bytes;
    const found = sha256Hex(bytes.value);
    if (found !== image.blockMap.sha256) {
      const detail = `${image.blockMap.targetPath}: signed ${image.blockMap.sha256}, got ${found}`;
      return refuse('metadata-hash-mismatch', detail);
    }
    const blockMap = decodeBlockMap(bytes.value, image.sizeBytes);
    if (!blockMap.ok) return blockMap;
    blockMaps.set(image.component, blockMap.value);
  }
  return accept(blockMaps);
}

/** Where the source keeps an image (TUF 1.0.34 §6.2). */
export function imageSourcePath(obtained: ObtainedRelease, image: ReleaseImage): Verdict<string> {
  const target = findTarget(obtained.trusted.targets, image.targetPath);
  return target.ok ? accept(target.value.consistentPath) : target;
}

export interface VerifiedImages {
  readonly images: readonly { readonly component: string; readonly sizeBytes: number; readonly sha256: string }[];
}

/** Streams every image through its block map and the whole digest, and keeps nothing. */
export async function verifyImages(
  ports: Pick<EnginePorts, 'source'>,
  obtained: ObtainedRelease,
): Promise<Verdict<VerifiedImages>> {
  const images: VerifiedImages['images'][number][] = [];
  for (const image of obtained.release.images) {
    const verified = await verifyImage(ports, obtained, image);
    if (!verified.ok) return verified;
    images.push({ component: image.component, sizeBytes: image.sizeBytes, sha256: image.sha256 });
  }
  return accept({ images });
}

async function verifyImage(
  ports: Pick<EnginePorts, 'source'>,
  obtained: ObtainedRelease,
  image: ReleaseImage,
): Promise<Verdict<true>> {
  const path = imageSourcePath(obtained, image);
  if (!path.ok) return path;
  const map = blockMapOf(obtained, image);
  const whole = new Sha256();
  for (let index = 0; index < map.count; index += 1) {
    const bytes = await ports.source.fetchRange(path.value, index * map.blockBytes, blockSizeBytes(map, index));
    if (!bytes.ok) return bytes;
    const block = verifyBlock(map, index, bytes.value);
    if (!block.ok) return block;
    whole.update(block.value);
  }
  const found = hex(whole.digest());
  if (found === image.sha256) return accept(true);
  return refuse('image-digest-mismatch', `${image.component}: signed ${image.sha256}, got ${found}`);
}

/** obtainRelease has put one there for every image. */
export function blockMapOf(obtained: ObtainedRelease, image: ReleaseImage): BlockMap {
  const map = obtained.blockMaps.get(image.component);
  if (map === undefined) throw new RangeError(`no block map for ${image.component}`);
  return map;
}
