/**
 * The TUF repository: what devices trust, as this server publishes it. It implements the publication port.
 *
 * Invariants: nothing is listed that a device of its class would refuse; files are written targets, roots, snapshot,
 * timestamp, so that a cut anywhere leaves what was served before, or what `open` completes: it signs snapshot and
 * timestamp over the newest targets that verify under the newest root. One publication or renewal at a time.
 * May not: sign a root, targets or a release. It has no key for that.
 */
import type { Readable } from 'node:stream';
import type { Disk } from '../../platform/disk.ts';
import { errorText } from '../../platform/fault.ts';
import type { PublishAnswer, PublishRequest, ReleaseView } from '../../protocol/operator-api.ts';
import type { Verified } from '../../trust/bytes.ts';
import { decodeTufDate } from '../../trust/time.ts';
import { releasesOf } from '../../trust/tuf/listing.ts';
import type { Root, Snapshot, Targets, Timestamp } from '../../trust/tuf/metadata.ts';
import { makeSnapshot, makeTimestamp } from '../../trust/tuf/repository.ts';
import type { ServerEvents } from '../core/events.ts';
import type { Actor, Publication, PublishOutcome, ServerClock, Store } from '../core/ports.ts';
import type { ArtifactFolder, PutOutcome } from './artifacts.ts';
import type { MetadataFolder } from './metadata-folder.ts';
import type { OnlineKeys } from './online-keys.ts';
import { expiryOf, nextOnlineVersion, renewalDue } from './online-roles.ts';
import { type Candidate, checkPublication } from './publication-check.ts';
import { loadRepository, repositoryCorrupt, type SignedParts } from './repository-load.ts';

export interface RepositoryPorts {
  readonly disk: Disk;
  readonly metadata: MetadataFolder;
  readonly artifacts: ArtifactFolder;
  readonly onlineKeys: OnlineKeys;
  readonly store: Pick<Store, 'recordPublication'>;
  readonly events: ServerEvents;
  readonly clock: ServerClock;
}

interface Online {
  readonly snapshot: Snapshot;
  readonly timestamp: Timestamp;
}

const nowUnixS = (clock: ServerClock): number => Math.floor(clock.nowUnixMs() / 1000);

export class Repository implements Publication {
  readonly #ports: RepositoryPorts;
  #parts: SignedParts;
  #online: Online;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(ports: RepositoryPorts, parts: SignedParts, online: Online) {
    this.#ports = ports;
    this.#parts = parts;
    this.#online = online;
  }

  /** Loads and verifies what stands on disk, completes a publication that was cut off, and renews what is due. */
  static async open(ports: RepositoryPorts): Promise<Repository> {
    const loaded = await loadRepository(ports.metadata);
    const missing = ports.onlineKeys.missingIn(loaded.parts.root);
    if (missing !== undefined) {
      throw repositoryCorrupt(`the online keys do not belong to this repository: ${missing}`, ports.metadata.path(''));
    }
    const { snapshot, timestamp } = loaded;
    const complete =
      snapshot?.meta['targets.json'].version === loaded.parts.targets.version &&
      timestamp?.meta['snapshot.json'].version === snapshot.version;
    const online =
      complete && snapshot !== undefined && timestamp !== undefined
        ? { snapshot, timestamp }
        : await signOnline(ports, loaded.parts.targets, {
            snapshot: loaded.newestSnapshotVersion,
            timestamp: timestamp?.version ?? 0,
          });
    const repository = new Repository(ports, loaded.parts, online);
    await repository.renew();
    await repository.#record('server');
    return repository;
  }

  environment(): 'production' | 'lab' | 'rehearsal' {
    return this.#parts.root.holdfast.environment;
  }

  get root(): Verified<Root> {
    return this.#parts.root;
  }

  get targets(): Verified<Targets> {
    return this.#parts.targets;
  }

  get versions(): {
    readonly root: number;
    readonly targets: number;
    readonly snapshot: number;
    readonly timestamp: number;
  } {
    return {
      root: this.#parts.root.version,
      targets: this.#parts.targets.version,
      snapshot: this.#online.snapshot.version,
      timestamp: this.#online.timestamp.version,
    };
  }

  /** As devices get it: a root of a publication that is not complete is not there yet. */
  async readMetadata(name: string): Promise<Uint8Array | undefined> {
    const rootVersion = /^(\d+)\.root\.json$/.exec(name)?.[1];
    if (rootVersion !== undefined && Number(rootVersion) > this.#parts.root.version) return undefined;
    return this.#ports.metadata.read(name);
  }

  async hasArtifact(sha256: string): Promise<{ readonly sizeBytes: number } | undefined> {
    const sizeBytes = await this.#ports.artifacts.sizeOf(sha256);
    return sizeBytes === undefined ? undefined : { sizeBytes };
  }

  readArtifact(sha256: string, first: number, last: number): Readable {
    return this.#ports.artifacts.read(sha256, first, last);
  }

  putArtifact(sha256: string, stream: AsyncIterable<Uint8Array>, sizeBytes: number): Promise<PutOutcome> {
    return this.#ports.artifacts.put(sha256, stream, sizeBytes);
  }

  publish(request: PublishRequest, actor: Actor): Promise<PublishOutcome> {
    return this.#alone(async () => {
      const checked = await checkPublication(this.#ports, this.#parts, request, nowUnixS(this.#ports.clock));
      if (!checked.ok) return checked;
      if (checked.candidate !== 'published-already') await this.#write(checked.candidate);
      const releases = await this.#record(actor);
      return { ok: true, answer: this.#answer(releases) };
    });
  }

  /** Signs snapshot and timestamp anew when a third of their life is left. Returns what was renewed. */
  renew(): Promise<'nothing' | 'timestamp' | 'both'> {
    return this.#alone(async () => {
      const now = nowUnixS(this.#ports.clock);
      const { snapshot, timestamp } = this.#online;
      if (renewalDue('snapshot', decodeTufDate(snapshot.expires) ?? 0, now)) {
        this.#online = await signOnline(this.#ports, this.#parts.targets, this.#onlineVersions());
        return 'both';
      }
      if (!renewalDue('timestamp', decodeTufDate(timestamp.expires) ?? 0, now)) return 'nothing';
      this.#online = { snapshot, timestamp: await signTimestamp(this.#ports, snapshot.version, timestamp.version) };
      return 'timestamp';
    });
  }

  /** What is served changes with the last write, the timestamp; until then new roots are not shown either. */
  async #write(candidate: Candidate): Promise<void> {
    const { metadata } = this.#ports;
    const { root, roots, targets, targetsBytes } = candidate;
    await metadata.write(`${targets.version}.targets.json`, targetsBytes);
    for (const { version, bytes } of roots) await metadata.write(`${version}.root.json`, bytes);
    this.#online = await signOnline(this.#ports, targets, this.#onlineVersions());
    this.#parts = { root, targets, targetsBytes };
  }

  #onlineVersions(): OnlineVersions {
    return { snapshot: this.#online.snapshot.version, timestamp: this.#online.timestamp.version };
  }

  /** The database follows the metadata, also after a cut between the two: recording twice changes nothing. */
  async #record(actor: Actor): Promise<readonly ReleaseView[]> {
    const { store, clock, events } = this.#ports;
    const recorded = await store.recordPublication({
      targetsVersion: this.#parts.targets.version,
      releases: releasesOf(this.#parts.targets).map(({ releasePath, entry }) => ({
        releasePath,
        hardwareClass: entry.hardwareClass,
        channel: entry.channel,
        version: entry.version,
        sequence: entry.sequence,
        floorSequence: entry.floorSequence,
        images: entry.images.map(({ component, sizeBytes, sha256 }) => ({ component, sizeBytes, sha256 })),
      })),
      actor,
      nowUnixMs: clock.nowUnixMs(),
    });
    for (const release of recorded.releases) events.emit({ kind: 'release', id: release.releasePath });
    return recorded.releases;
  }

  #answer(releases: readonly ReleaseView[]): PublishAnswer {
    const { targets, snapshot, timestamp } = this.versions;
    return { targetsVersion: targets, snapshotVersion: snapshot, timestampVersion: timestamp, releases: [...releases] };
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch((error: unknown) => errorText(error));
    return turn;
  }
}

interface OnlineVersions {
  readonly snapshot: number;
  readonly timestamp: number;
}

async function signOnline(ports: RepositoryPorts, targets: Targets, previous: OnlineVersions): Promise<Online> {
  const now = nowUnixS(ports.clock);
  const version = nextOnlineVersion(previous.snapshot, now);
  const signed = makeSnapshot({ version, expires: expiryOf('snapshot', now), targetsVersion: targets.version });
  await ports.metadata.write(`${version}.snapshot.json`, ports.onlineKeys.sign(signed));
  return { snapshot: signed, timestamp: await signTimestamp(ports, version, previous.timestamp) };
}

async function signTimestamp(ports: RepositoryPorts, snapshotVersion: number, previous: number): Promise<Timestamp> {
  const now = nowUnixS(ports.clock);
  const version = nextOnlineVersion(previous, now);
  const signed = makeTimestamp({ version, expires: expiryOf('timestamp', now), snapshotVersion });
  await ports.metadata.write('timestamp.json', ports.onlineKeys.sign(signed));
  return signed;
}
