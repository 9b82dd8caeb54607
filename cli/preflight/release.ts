/** A release as a preflight needs it: what was built, and where its images lie, from a release folder or from the server. */
import { join } from 'node:path';
import { faultOfRefusal } from '../../keys/base-metadata.ts';
import type { ReleaseContent } from '../../keys/release-content.ts';
import { checkImages, type OnImage, openReleaseFolder, type ReleaseFolder } from '../../keys/release-folder.ts';
import { imagePathOf } from '../../keys/release-plan.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import type { Verdict } from '../../trust/refusal.ts';
import { findRelease, findTarget, newestRelease, releasesOf } from '../../trust/tuf/listing.ts';
import type { ApiClient } from '../api-client.ts';
import { fetchArtifact } from '../artifact-files.ts';
import type { Output } from '../output.ts';
import type { ServerMetadata } from '../server-metadata.ts';

export interface PreflightRelease {
  readonly content: ReleaseContent;
  /** By component; only ever read. */
  readonly files: ReadonlyMap<string, { readonly image: string; readonly blockMap: string }>;
}

/** Derived again from its plan, every image read again. Faults: those of release-folder.ts. */
export async function releaseOfFolder(folder: string, onImage: OnImage): Promise<PreflightRelease & ReleaseFolder> {
  const opened = await openReleaseFolder(folder);
  await checkImages(opened, onImage);
  const files = opened.plan.images.map((image) => {
    const blockMap = join(folder, `${image.component}.blocks`);
    return [image.component, { image: imagePathOf(folder, image), blockMap }] as const;
  });
  return { ...opened, files: new Map(files) };
}

/** The newest that the server has for a class and channel. Fault `release-unknown`. */
export function newestOnServer(
  { targets }: ServerMetadata,
  { hardwareClass, channel }: Pick<ReleaseContent, 'hardwareClass' | 'channel'>,
): string {
  const newest = newestRelease(releasesOf(targets), hardwareClass, channel);
  if (newest !== undefined) return newest.releasePath;
  throw new Fault({
    code: 'release-unknown',
    what: `the server has no release of class ${hardwareClass} on channel ${channel}`,
    cure: 'Name the release that devices run: --from FOLDER (its release folder) or --from RELEASE.',
    exitStatus: EXIT.input,
  });
}

/** Fetches block maps and images into `directory`, each checked against the signed metadata. */
export async function releaseOfServer(
  out: Output,
  api: Pick<ApiClient, 'artifactPiece'>,
  { targets }: ServerMetadata,
  releasePath: string,
  directory: string,
): Promise<PreflightRelease> {
  const need = <T>(verdict: Verdict<T>): T => {
    if (!verdict.ok) throw faultOfRefusal(verdict, releasePath, 'See holdfast release list.');
    return verdict.value;
  };
  const { entry } = need(findRelease(targets, releasePath));
  const { kind: _kind, images: listed, ...names } = entry;
  const images = [];
  const files = new Map<string, { image: string; blockMap: string }>();
  for (const { component, sizeBytes, sha256, image, blockMap: blockMapPath } of listed) {
    const blockMap = need(findTarget(targets, blockMapPath));
    const paths = { image: join(directory, `${component}.img`), blockMap: join(directory, `${component}.blocks`) };
    await fetchArtifact(out, api, { label: blockMapPath, path: paths.blockMap, ...blockMap });
    await fetchArtifact(out, api, { label: image, path: paths.image, sizeBytes, sha256 });
    files.set(component, paths);
    images.push({
      component,
      sizeBytes,
      sha256,
      targetPath: image,
      blockMap: { targetPath: blockMapPath, sizeBytes: blockMap.sizeBytes, sha256: blockMap.sha256 },
    });
  }
  return { content: { ...names, releasePath, images }, files };
}
