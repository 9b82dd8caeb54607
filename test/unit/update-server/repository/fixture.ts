/** A repository on a real disk with a ceremony of one, and releases made the way the tools make them. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  describeImage,
  draftTargets,
  manifestOf,
  type ReleaseContent,
  releasePathOf,
  signEnvelope,
} from '../../../../keys/release-content.ts';
import { draftRoot, emptyTargets } from '../../../../keys/root-draft.ts';
import { generateRawKey, type RawPrivateKey, type SigningKey, softwareKey } from '../../../../keys/signing-key.ts';
import { signMetadata } from '../../../../keys/tuf-signing.ts';
import { type Disk, nodeDisk } from '../../../../platform/disk.ts';
import { sealBytes } from '../../../../platform/sealed-file.ts';
import { BlockMapBuilder, encodeBlockMap } from '../../../../trust/blocks.ts';
import { hex, utf8 } from '../../../../trust/bytes.ts';
import { sha256Hex } from '../../../../trust/crypto.ts';
import type { Root, Targets } from '../../../../trust/tuf/metadata.ts';
import { ServerEvents } from '../../../../update-server/core/events.ts';
import { ArtifactFolder } from '../../../../update-server/repository/artifacts.ts';
import { importCeremony, type ServerCeremony } from '../../../../update-server/repository/import-ceremony.ts';
import { MetadataFolder } from '../../../../update-server/repository/metadata-folder.ts';
import { ONLINE_KEYS_CONTEXT, OnlineKeys } from '../../../../update-server/repository/online-keys.ts';
import { Repository } from '../../../../update-server/repository/repository.ts';
import { openSqliteStore } from '../../../../update-server/store/sqlite-store.ts';

export const NOW_S = Date.UTC(2026, 5, 1) / 1000;
export const DAY_S = 24 * 3600;

export async function* chunks(bytes: Uint8Array, size = 100_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

function keyOf(use: 'tuf' | 'author', raw: RawPrivateKey): SigningKey {
  const key = softwareKey(use, raw);
  if (key === undefined) throw new Error('a fresh key pair does not fit');
  return key;
}

export class Publisher {
  readonly keys = {
    root: keyOf('tuf', generateRawKey('ed25519')),
    person1: keyOf('tuf', generateRawKey('ed25519')),
    person2: keyOf('tuf', generateRawKey('ed25519')),
    author: keyOf('author', generateRawKey('ed25519')),
    hubAuthor: keyOf('author', generateRawKey('ed25519')),
    stranger: keyOf('author', generateRawKey('ed25519')),
  };
  readonly online = { snapshot: generateRawKey('ed25519'), timestamp: generateRawKey('ed25519') };
  readonly sealingKey = new Uint8Array(randomBytes(32));

  /** Root 1: two people sign targets, one author for acme-cam, one for acme-hub. */
  draftRoot(): Root {
    const { root, person1, person2, author, hubAuthor } = this.keys;
    return draftRoot({
      environment: 'rehearsal',
      roleKeys: {
        root: [root.publicKey],
        targets: [person1.publicKey, person2.publicKey],
        snapshot: [this.online.snapshot.publicKey],
        timestamp: [this.online.timestamp.publicKey],
      },
      thresholds: { root: 1, targets: 2 },
      authors: [
        { algorithm: 'ed25519', publicKey: author.publicKey, hardwareClasses: ['acme-cam'] },
        { algorithm: 'ed25519', publicKey: hubAuthor.publicKey, hardwareClasses: ['acme-hub'] },
      ],
      nowUnixS: NOW_S,
    });
  }

  async ceremony(): Promise<ServerCeremony> {
    const pair = (raw: RawPrivateKey) => ({ publicKey: hex(raw.publicKey), privateKey: hex(raw.secret) });
    const online = { snapshot: pair(this.online.snapshot), timestamp: pair(this.online.timestamp) };
    return {
      root: await signMetadata(this.draftRoot(), [this.keys.root]),
      targets: await this.signTargets(emptyTargets(NOW_S)),
      sealedOnlineKeys: sealBytes(this.sealingKey, utf8(JSON.stringify(online)), ONLINE_KEYS_CONTEXT),
    };
  }

  signTargets(
    targets: Targets,
    keys: readonly SigningKey[] = [this.keys.person1, this.keys.person2],
  ): Promise<Uint8Array> {
    return signMetadata(targets, keys);
  }
}

export interface MadeRelease {
  readonly targets: Targets;
  readonly content: ReleaseContent;
  readonly artifacts: readonly Uint8Array[];
}

export interface ReleaseWishes {
  readonly sequence: number;
  readonly hardwareClass?: string;
  readonly author?: SigningKey;
  readonly image?: Uint8Array;
  /** What the block map is made of, when it is not the image. */
  readonly mapOf?: Uint8Array;
  readonly change?: (content: ReleaseContent) => ReleaseContent;
}

/** A release of one image over `current`, with everything that has to be uploaded. */
export async function makeRelease(publisher: Publisher, current: Targets, wishes: ReleaseWishes): Promise<MadeRelease> {
  const names = { hardwareClass: wishes.hardwareClass ?? 'acme-cam', channel: 'stable', sequence: wishes.sequence };
  const image = wishes.image ?? new Uint8Array(randomBytes(1_500_000));
  const blockMap = encodeBlockMap(new BlockMapBuilder().update(wishes.mapOf ?? image).finish().map);
  const content: ReleaseContent = {
    ...names,
    releasePath: releasePathOf(names),
    vendor: 'acme.example',
    version: `${wishes.sequence}.0.0`,
    floorSequence: 0,
    buildUnixS: NOW_S,
    images: [describeImage(names, 'rootfs', { sizeBytes: image.length, sha256: sha256Hex(image), blockMap })],
  };
  const signed = wishes.change?.(content) ?? content;
  const envelope = await signEnvelope(manifestOf(signed), wishes.author ?? publisher.keys.author);
  const targets = draftTargets({ current, content, envelope, expiresUnixS: NOW_S + 365 * DAY_S });
  return { targets, content, artifacts: [image, blockMap, envelope] };
}

export class RepositoryBed {
  readonly publisher = new Publisher();
  readonly clock = { nowS: NOW_S, nowUnixMs: () => this.clock.nowS * 1000 };
  readonly directory: string;
  readonly store;
  readonly events = new ServerEvents((error) => {
    throw error;
  });

  private constructor(directory: string) {
    this.directory = directory;
    this.store = openSqliteStore(join(directory, 'db.sqlite'));
  }

  static async make(): Promise<RepositoryBed> {
    const bed = new RepositoryBed(await mkdtemp(join(tmpdir(), 'holdfast-repository-')));
    const metadata = await MetadataFolder.open(nodeDisk, bed.path('metadata'));
    const target = { disk: nodeDisk, metadata, sealedKeysPath: bed.path('online-keys.sealed') };
    await importCeremony(target, await bed.publisher.ceremony(), bed.publisher.sealingKey, 'ceremony');
    return bed;
  }

  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  /** Opens it as a start of the server does; `disk` may break in the middle. */
  async open(disk: Disk = nodeDisk): Promise<Repository> {
    const metadata = await MetadataFolder.open(disk, this.path('metadata'));
    const artifacts = await ArtifactFolder.open(disk, this.path('artifacts'));
    const sealed = (await nodeDisk.readFile(this.path('online-keys.sealed'), 65_536)) ?? new Uint8Array();
    const onlineKeys = OnlineKeys.open(this.publisher.sealingKey, sealed, 'online-keys.sealed');
    const { store, events, clock } = this;
    return Repository.open({ disk, metadata, artifacts, onlineKeys, store, events, clock });
  }

  async upload(repository: Repository, artifacts: readonly Uint8Array[]): Promise<void> {
    for (const bytes of artifacts) {
      const outcome = await repository.putArtifact(sha256Hex(bytes), chunks(bytes), bytes.length);
      if (!outcome.ok) throw new Error(outcome.what);
    }
  }

  /** Uploads and publishes, as the tools do. */
  async publish(repository: Repository, release: MadeRelease, keys?: readonly SigningKey[]) {
    await this.upload(repository, release.artifacts);
    const targets = Buffer.from(await this.publisher.signTargets(release.targets, keys)).toString();
    return repository.publish({ roots: [], targets }, 'tester');
  }

  async remove(): Promise<void> {
    await this.store.close();
    await rm(this.directory, { recursive: true });
  }
}
