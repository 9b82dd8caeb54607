/**
 * Makes releases that are properly signed and wrong in one respect, with the ceremony's real keys. Images are those of a
 * release that the server holds already, so that nothing has to be uploaded.
 */
import { join } from 'node:path';
import { openKey, readKeyFile } from '../../keys/key-file.ts';
import { readPassphraseFile } from '../../keys/passphrase.ts';
import {
  draftTargets,
  manifestOf,
  type ReleaseContent,
  releaseFolder,
  releasePathOf,
  signEnvelope,
} from '../../keys/release-content.ts';
import type { SigningKey } from '../../keys/signing-key.ts';
import { signMetadata } from '../../keys/tuf-signing.ts';
import type { ReleaseEntry, Targets } from '../../trust/tuf/metadata.ts';
import type { StolenRepository } from './stolen-repository.ts';

const YEAR_S = 365 * 24 * 3600;

export interface CeremonyKeys {
  /** Two people's: the threshold. */
  readonly targets: readonly [SigningKey, SigningKey];
  /** By hardware class. */
  readonly authors: ReadonlyMap<string, SigningKey>;
}

/** Opens what the attacks sign with. The passphrase is the run's throw-away one. */
export async function openCeremonyKeys(
  ceremonyDirectory: string,
  passphraseFile: string,
  hardwareClasses: readonly string[],
): Promise<CeremonyKeys> {
  const open = async (file: string): Promise<SigningKey> => {
    const passphrase = await readPassphraseFile(passphraseFile);
    try {
      return await openKey(await readKeyFile(join(ceremonyDirectory, file)), passphrase);
    } finally {
      passphrase.wipe();
    }
  };
  const targets = [await open('person-1/targets.key'), await open('person-2/targets.key')] as const;
  const authors = new Map<string, SigningKey>();
  for (const name of hardwareClasses) authors.set(name, await open(`author-${name}/author.key`));
  return { targets, authors };
}

/** What a crafted release may differ in; everything else is as in an accepted one. */
export interface CraftedRelease {
  readonly content: ReleaseContent;
  readonly author: SigningKey;
  readonly targetsKeys: readonly SigningKey[];
  /** What the envelope says, when it is not the same as what the targets say. */
  readonly envelopeContent?: ReleaseContent;
}

/** The content of a release that the repository holds, as another release with other names. */
export function contentLike(
  repository: StolenRepository,
  releasePath: string,
  changes: Partial<Pick<ReleaseContent, 'hardwareClass' | 'channel' | 'sequence' | 'version'>>,
): ReleaseContent {
  const { targets } = repository.newest('targets');
  const entry = releaseEntry(repository.newest('targets'), releasePath);
  const names = { ...entry, ...changes };
  const folder = releaseFolder(names);
  const images = entry.images.map(({ component, sizeBytes, sha256, blockMap }) => {
    const map = targets[blockMap];
    if (map === undefined) throw new Error(`the targets do not list ${blockMap}`);
    return {
      component,
      sizeBytes,
      sha256,
      targetPath: `${folder}/${component}.img`,
      blockMap: { targetPath: `${folder}/${component}.blocks`, sizeBytes: map.length, sha256: map.hashes.sha256 },
    };
  });
  const { vendor, floorSequence, buildUnixS } = entry;
  const { hardwareClass, channel, sequence, version } = names;
  return {
    releasePath: releasePathOf(names),
    vendor,
    hardwareClass,
    channel,
    version,
    sequence,
    floorSequence,
    buildUnixS,
    images,
  };
}

function releaseEntry(targets: Targets, releasePath: string): ReleaseEntry {
  const custom = targets.targets[releasePath]?.custom?.holdfast;
  if (custom?.kind !== 'release') throw new Error(`the targets do not list the release ${releasePath}`);
  return custom;
}

/** A copy of the repository that offers the crafted release, in targets that are one version on. */
export async function offer(repository: StolenRepository, crafted: CraftedRelease): Promise<StolenRepository> {
  const { content, author, targetsKeys } = crafted;
  const offering = repository.copy();
  const envelope = await signEnvelope(manifestOf(crafted.envelopeContent ?? content), author);
  offering.addArtifact(envelope);
  const expiresUnixS = Math.floor(Date.now() / 1000) + YEAR_S;
  const targets = draftTargets({ current: repository.newest('targets'), content, envelope, expiresUnixS });
  await offering.serveTargets(targets, await signMetadata(targets, targetsKeys));
  return offering;
}
