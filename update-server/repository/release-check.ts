/**
 * What a device of the release's class would say, said before anything is published: publishing refuses what a device
 * would refuse, with the device's own code. Uses the device's verifier, not a copy of it.
 */

import { BLOCK_MAP_CAP_BYTES, BlockMapBuilder, decodeBlockMap, encodeBlockMap } from '../../trust/blocks.ts';
import type { Verified } from '../../trust/bytes.ts';
import { hex } from '../../trust/bytes.ts';
import { sha256Hex } from '../../trust/crypto.ts';
import { accept, refuse, type Verdict } from '../../trust/refusal.ts';
import { type Release, type ReleaseImage, verifyRelease } from '../../trust/release.ts';
import { newestRelease, type ReleaseListing } from '../../trust/tuf/listing.ts';
import type { Root, Targets } from '../../trust/tuf/metadata.ts';
import type { ArtifactFolder } from './artifacts.ts';

/** As devices cap it: CBOR on the trust path has at most 64 KiB. */
export const ENVELOPE_CAP_BYTES = 64 * 1024;

export interface ReleaseCheckContext {
  readonly root: Verified<Root>;
  readonly targets: Verified<Targets>;
  /** What was published before: a device of the class may run its newest. */
  readonly before: readonly ReleaseListing[];
  readonly artifacts: ArtifactFolder;
}

/** Runs the device's checks over a release's envelope, block maps and images. */
export async function checkRelease(context: ReleaseCheckContext, listed: ReleaseListing): Promise<Verdict<Release>> {
  const { entry, releasePath } = listed;
  const envelope = await readSmall(context.artifacts, listed.sha256, ENVELOPE_CAP_BYTES);
  if (!envelope.ok) return envelope;
  const newest = newestRelease(context.before, entry.hardwareClass, entry.channel)?.entry;
  const release = verifyRelease({
    root: context.root,
    targets: context.targets,
    releasePath,
    envelope: envelope.value,
    device: { vendor: entry.vendor, hardwareClass: entry.hardwareClass, channel: entry.channel },
    installedSequence: newest?.sequence ?? 0,
    floorSequence: newest?.floorSequence ?? 0,
  });
  if (!release.ok) return release;
  for (const image of release.value.images) {
    const checked = await checkImage(context.artifacts, image);
    if (!checked.ok) return checked;
  }
  return release;
}

async function readSmall(artifacts: ArtifactFolder, sha256: string, capBytes: number): Promise<Verdict<Uint8Array>> {
  const sizeBytes = await artifacts.sizeOf(sha256);
  if (sizeBytes === undefined) return refuse('target-unknown', `artifact ${sha256} is not stored`);
  if (sizeBytes > capBytes) return refuse('input-too-large', `${sizeBytes} bytes, at most ${capBytes} are taken`);
  const bytes = await artifacts.readWhole(sha256, capBytes);
  // Read back: a disk that lost bits since the upload would be found by every device, one after the other.
  if (bytes === undefined || sha256Hex(bytes) !== sha256) {
    return refuse('metadata-hash-mismatch', `the stored artifact ${sha256} is damaged`);
  }
  return accept(bytes);
}

async function checkImage(artifacts: ArtifactFolder, image: ReleaseImage): Promise<Verdict<undefined>> {
  const map = await readSmall(artifacts, image.blockMap.sha256, BLOCK_MAP_CAP_BYTES);
  if (!map.ok) return map;
  const decoded = decodeBlockMap(map.value, image.sizeBytes);
  if (!decoded.ok) return decoded;
  const builder = new BlockMapBuilder();
  for await (const piece of artifacts.read(image.sha256, 0, Math.max(0, image.sizeBytes - 1))) builder.update(piece);
  const found = builder.finish();
  if (found.imageSizeBytes !== image.sizeBytes) {
    return refuse('image-size-mismatch', `${image.component}: ${found.imageSizeBytes} bytes, not ${image.sizeBytes}`);
  }
  if (found.sha256 !== image.sha256)
    return refuse('image-digest-mismatch', `${image.component}: hashes to ${found.sha256}`);
  if (hex(encodeBlockMap(found.map)) !== hex(map.value)) {
    return refuse('block-digest-mismatch', `${image.component}: the block map is that of another image`);
  }
  return accept(undefined);
}
