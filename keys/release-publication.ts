/**
 * `release publish`, the part that needs no network: is the release complete, and what must the server be given?
 */
import { join } from 'node:path';
import { EXIT, Fault } from '../platform/fault.ts';
import { sha256Hex } from '../trust/crypto.ts';
import { verifyRelease } from '../trust/release.ts';
import { verifyTargetsForPublication } from '../trust/tuf/repository.ts';
import { faultOfRefusal } from './base-metadata.ts';
import { checkImages, type OnImage, openReleaseFolder } from './release-folder.ts';
import { imagePathOf, type ReleasePlan } from './release-plan.ts';

export interface Artifact {
  /** For people: `rootfs image`, `boot block map`, `release.suit`. */
  readonly label: string;
  readonly path: string;
  readonly sizeBytes: number;
  /** Hex: its address on the server. */
  readonly sha256: string;
}

export interface Publication {
  readonly plan: ReleasePlan;
  readonly artifacts: readonly Artifact[];
  /** The signed targets file, exactly as signed. */
  readonly targets: string;
}

/**
 * Checks images, signatures and the release as a whole (the same verification that devices run), and lists what to
 * upload. Faults: `signatures-missing`, `image-changed`, `plan-mismatch`, or a refusal code of trust/.
 */
export async function planPublication(folder: string, nowUnixS: number, onImage?: OnImage): Promise<Publication> {
  const release = await openReleaseFolder(folder);
  const { plan, base, envelope, targetsFile, targetsSigners } = release;
  const { threshold } = base.root.roles.targets;
  const missing = threshold - targetsSigners.length;
  if (envelope === undefined || targetsFile === undefined || missing > 0) {
    const what =
      envelope === undefined
        ? 'the author has not signed it yet'
        : `${missing} of ${threshold} targets signatures are missing`;
    const key = envelope === undefined ? `author-${plan.hardwareClass}/author.key` : 'person-N/targets.key';
    throw new Fault({
      code: 'signatures-missing',
      what,
      where: folder,
      cure: `holdfast release sign ${folder} --key ${key}`,
      exitStatus: EXIT.refused,
    });
  }
  const where = join(folder, 'targets.json');
  const time = { floorUnixS: plan.buildUnixS, synchronisedUnixS: nowUnixS };
  const targets = verifyTargetsForPublication({
    root: base.root,
    currentTargets: base.targets,
    candidate: targetsFile,
    time,
  });
  if (!targets.ok) throw faultOfRefusal(targets, where, 'Build and sign the release again.');
  const verdict = verifyRelease({
    root: base.root,
    targets: targets.value,
    releasePath: plan.releasePath,
    envelope,
    device: plan,
    installedSequence: plan.sequence - 1,
    floorSequence: plan.floorSequence,
  });
  if (!verdict.ok) throw faultOfRefusal(verdict, join(folder, 'release.suit'), 'Build and sign the release again.');
  await checkImages(release, onImage);
  const artifacts = plan.images.flatMap((image): Artifact[] => {
    const { component, sizeBytes, sha256, blockMap } = image;
    return [
      { label: `${component} image`, path: imagePathOf(folder, image), sizeBytes, sha256 },
      {
        label: `${component} block map`,
        path: join(folder, `${component}.blocks`),
        sizeBytes: blockMap.sizeBytes,
        sha256: blockMap.sha256,
      },
    ];
  });
  artifacts.push({
    label: 'release.suit',
    path: join(folder, 'release.suit'),
    sizeBytes: envelope.length,
    sha256: sha256Hex(envelope),
  });
  return { plan, artifacts, targets: Buffer.from(targetsFile).toString('utf8') };
}
