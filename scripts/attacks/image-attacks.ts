/**
 * Attacks on images and metadata: a stolen server, with everything that the server had, against a device's verifier.
 * Where more is needed than a server has (an author's key, people's targets keys), the attack is given exactly that.
 */
import { ephemeralKey } from '../../keys/signing-key.ts';
import type { Attack, AttackOutcome, Verified } from './attack.ts';
import type { TlsIdentity } from './certificates.ts';
import { type CeremonyKeys, type CraftedRelease, contentLike, offer } from './crafted-release.ts';
import type { DeviceVerifier } from './device-verifier.ts';
import type { StolenRepository } from './stolen-repository.ts';

export interface ImageLab {
  readonly verifier: DeviceVerifier;
  readonly repository: StolenRepository;
  readonly identity: TlsIdentity;
  readonly keys: CeremonyKeys;
  /** A published release of the victim's class and channel, whose images the crafted ones share. */
  readonly releasePath: string;
  readonly hardwareClass: string;
  readonly otherClass: string;
  /** What the victim has installed. */
  readonly installedSequence: number;
}

function author(lab: ImageLab, hardwareClass: string) {
  const key = lab.keys.authors.get(hardwareClass);
  if (key === undefined) throw new Error(`no author for ${hardwareClass}`);
  return key;
}

/** An accepted release: newer than what is installed, signed as it must be. */
function sound(lab: ImageLab): CraftedRelease {
  const sequence = lab.installedSequence + 7;
  const content = contentLike(lab.repository, lab.releasePath, { sequence, version: `${sequence}.0.0` });
  return { content, author: author(lab, lab.hardwareClass), targetsKeys: lab.keys.targets };
}

async function put(lab: ImageLab, crafted: CraftedRelease): Promise<Verified> {
  return lab.verifier.verify(await offer(lab.repository, crafted), lab.identity, crafted.content.releasePath);
}

/** The twin and the same release with some parts replaced. */
async function changed(
  lab: ImageLab,
  change: (twin: CraftedRelease) => Partial<CraftedRelease>,
): Promise<AttackOutcome> {
  const twin = sound(lab);
  return { twin: await put(lab, twin), attack: await put(lab, { ...twin, ...change(twin) }) };
}

async function flippedBit(lab: ImageLab): Promise<AttackOutcome> {
  const crafted = sound(lab);
  const { releasePath, images } = crafted.content;
  const repository = await offer(lab.repository, crafted);
  const twin = await lab.verifier.verify(repository, lab.identity, releasePath);
  const image = images.at(-1);
  if (image === undefined) throw new Error('a release without images');
  const bytes = Uint8Array.from(await repository.readWhole(image.sha256));
  const middle = bytes.length >> 1;
  bytes[middle] = (bytes[middle] ?? 0) ^ 0x10;
  repository.substituteArtifact(image.sha256, bytes);
  return { twin, attack: await lab.verifier.verify(repository, lab.identity, releasePath) };
}

async function onTheSource(
  lab: ImageLab,
  attack: (repository: StolenRepository, releasePath: string) => Promise<Verified>,
): Promise<AttackOutcome> {
  const crafted = sound(lab);
  const repository = await offer(lab.repository, crafted);
  const { releasePath } = crafted.content;
  return {
    twin: await lab.verifier.verify(repository, lab.identity, releasePath),
    attack: await attack(repository, releasePath),
  };
}

const expired = (lab: ImageLab): Promise<AttackOutcome> =>
  onTheSource(lab, async (repository, releasePath) => {
    const late = repository.copy();
    await late.serveTimestamp(-3600);
    return lab.verifier.verify(late, lab.identity, releasePath);
  });

const endless = (lab: ImageLab): Promise<AttackOutcome> =>
  onTheSource(lab, (repository, releasePath) =>
    lab.verifier.verify(repository, lab.identity, releasePath, { endless: 'timestamp.json' }),
  );

export const IMAGE_ATTACKS: readonly Attack<ImageLab>[] = [
  { name: 'one flipped bit in an image', by: 'device', expectedCode: 'block-digest-mismatch', make: flippedBit },
  {
    name: 'unknown signer',
    by: 'device',
    expectedCode: 'author-unknown',
    make: (lab) => changed(lab, () => ({ author: ephemeralKey('author') })),
  },
  {
    name: 'too few targets signatures',
    by: 'device',
    expectedCode: 'metadata-threshold-not-met',
    make: (lab) => changed(lab, () => ({ targetsKeys: [lab.keys.targets[0]] })),
  },
  {
    name: 'author key of another class',
    by: 'device',
    expectedCode: 'author-out-of-scope',
    make: (lab) => changed(lab, () => ({ author: author(lab, lab.otherClass) })),
  },
  {
    name: 'older sequence',
    by: 'device',
    expectedCode: 'sequence-not-newer',
    make: (lab) =>
      changed(lab, ({ content }) => ({
        content: contentLike(lab.repository, lab.releasePath, {
          sequence: lab.installedSequence - 1,
          version: content.version,
        }),
      })),
  },
  {
    // Signed by that class's own author: the release is sound, for other hardware.
    name: 'other hardware class',
    by: 'device',
    expectedCode: 'class-mismatch',
    make: (lab) =>
      changed(lab, ({ content: { sequence, version } }) => ({
        content: contentLike(lab.repository, lab.releasePath, { hardwareClass: lab.otherClass, sequence, version }),
        author: author(lab, lab.otherClass),
      })),
  },
  {
    name: 'other channel',
    by: 'device',
    expectedCode: 'channel-mismatch',
    make: (lab) =>
      changed(lab, ({ content: { sequence, version } }) => ({
        content: contentLike(lab.repository, lab.releasePath, { channel: 'beta', sequence, version }),
      })),
  },
  { name: 'expired metadata', by: 'device', expectedCode: 'metadata-expired', make: expired },
  { name: 'endless data', by: 'device', expectedCode: 'transfer-endless', make: endless },
  {
    name: 'TUF and SUIT disagree',
    by: 'device',
    expectedCode: 'targets-suit-disagree',
    make: (lab) => changed(lab, ({ content }) => ({ envelopeContent: { ...content, sequence: content.sequence + 1 } })),
  },
];
