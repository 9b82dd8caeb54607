/**
 * The inner loop of a tester: an uploaded image becomes one component of a device's next release, signed by the lab's own
 * keys, published, and rolled out to that one device. The other components are carried over from what the device runs,
 * or from the newest release of its class and channel. Only on lab servers.
 */

import type { ReleaseContent } from '../../keys/release-content.ts';
import { describeImage, draftTargets, manifestOf, releasePathOf, signEnvelope } from '../../keys/release-content.ts';
import { TARGETS_LIFETIME_S } from '../../keys/root-draft.ts';
import { signMetadata } from '../../keys/tuf-signing.ts';
import type { DeviceView, LabPushAnswer, LabPushRequest } from '../../protocol/operator-api.ts';
import { BlockMapBuilder, encodeBlockMap } from '../../trust/blocks.ts';
import { sha256Hex } from '../../trust/crypto.ts';
import type { ReleaseImage } from '../../trust/release.ts';
import { newestRelease, type ReleaseListing, releasesOf } from '../../trust/tuf/listing.ts';
import type { ServerEvents } from '../core/events.ts';
import type { Actor, ServerClock, Store } from '../core/ports.ts';
import type { Repository } from '../repository/repository.ts';
import type { LabKeys } from './lab-keys.ts';

/** A tester watches: a device that has not confirmed after this has failed. */
const ACTION_TIMEOUT_MS = 10 * 60_000;

export interface LabPorts {
  readonly repository: Repository;
  readonly store: Pick<Store, 'findDevice' | 'startRollout'>;
  readonly events: ServerEvents;
  readonly clock: ServerClock;
  readonly keys: LabKeys;
  readonly vendor: string;
}

export type LabPushOutcome =
  | { readonly ok: true; readonly answer: LabPushAnswer }
  | { readonly ok: false; readonly code: string; readonly what: string; readonly cure: string };

type No = Extract<LabPushOutcome, { ok: false }>;
const no = (code: string, what: string, cure: string): No => ({ ok: false, code, what, cure });

export class Lab {
  readonly #ports: LabPorts;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(ports: LabPorts) {
    this.#ports = ports;
  }

  /** One push after the other: each takes the next sequence. */
  push(request: LabPushRequest, actor: Actor): Promise<LabPushOutcome> {
    const turn = this.#queue.then(() => this.#push(request, actor));
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  async #push(request: LabPushRequest, actor: Actor): Promise<LabPushOutcome> {
    const { store, repository, clock } = this.#ports;
    const nowUnixMs = clock.nowUnixMs();
    const detail = await store.findDevice(request.deviceId, { nowUnixMs, onlineWindowMs: 0 });
    if (detail === undefined) {
      return no('device-unknown', `there is no device ${request.deviceId}`, 'List devices: holdfast devices list.');
    }
    const content = await this.#compose(request, detail.device, Math.floor(nowUnixMs / 1000));
    if ('ok' in content) return content;
    const published = await repository.publish({ roots: [], targets: await this.#sign(content) }, actor);
    if (!published.ok) return published;
    return this.#rollOut(request.deviceId, content, actor);
  }

  /** The release that the device is to get, with every image and block map stored. */
  async #compose(request: LabPushRequest, device: DeviceView, buildUnixS: number): Promise<ReleaseContent | No> {
    const { hardwareClass } = device;
    const channel = device.channel ?? 'stable';
    const releases = releasesOf(this.#ports.repository.targets);
    const newest = newestRelease(releases, hardwareClass, channel);
    const base = running(releases, device, channel) ?? newest;
    const sequence = Math.max(newest?.entry.sequence ?? 0, device.installed?.sequence ?? 0) + 1;
    const names = { hardwareClass, channel, sequence };
    const wanted = new Map((base?.entry.images ?? []).map((image) => [image.component, image.sha256]));
    for (const { component, sha256 } of [...(request.others ?? []), request]) wanted.set(component, sha256);
    const images: ReleaseImage[] = [];
    for (const [component, sha256] of wanted) {
      const image = await this.#mapImage(sha256);
      if (image === undefined) {
        return no(
          'artifact-missing',
          `the image of ${component} (${sha256}) was not uploaded`,
          'Upload it, then push again.',
        );
      }
      images.push(describeImage(names, component, image));
    }
    return {
      ...names,
      releasePath: releasePathOf(names),
      vendor: this.#ports.vendor,
      version: `lab.${sequence}`,
      floorSequence: newest?.entry.floorSequence ?? 0,
      buildUnixS,
      images,
    };
  }

  async #mapImage(sha256: string): Promise<{ sizeBytes: number; sha256: string; blockMap: Uint8Array } | undefined> {
    const { repository } = this.#ports;
    const found = await repository.hasArtifact(sha256);
    if (found === undefined) return undefined;
    const builder = new BlockMapBuilder();
    for await (const piece of repository.readArtifact(sha256, 0, Math.max(0, found.sizeBytes - 1)))
      builder.update(piece);
    const blockMap = encodeBlockMap(builder.finish().map);
    await this.#put(blockMap);
    return { sizeBytes: found.sizeBytes, sha256, blockMap };
  }

  /** Signs the envelope and stores it; the signed targets that list it, as text. */
  async #sign(content: ReleaseContent): Promise<string> {
    const { keys, repository } = this.#ports;
    const envelope = await signEnvelope(manifestOf(content), keys.author);
    await this.#put(envelope);
    const expiresUnixS = content.buildUnixS + TARGETS_LIFETIME_S;
    const targets = draftTargets({ current: repository.targets, content, envelope, expiresUnixS });
    return Buffer.from(await signMetadata(targets, [keys.targets])).toString('utf8');
  }

  async #put(bytes: Uint8Array): Promise<void> {
    const outcome = await this.#ports.repository.putArtifact(sha256Hex(bytes), oneChunk(bytes), bytes.length);
    if (!outcome.ok) throw new Error(outcome.what);
  }

  async #rollOut(deviceId: string, content: ReleaseContent, actor: Actor): Promise<LabPushOutcome> {
    const request = {
      releasePath: content.releasePath,
      waves: [{ devices: 1 }],
      maxFailedPercent: 0,
      minSample: 1,
      actionTimeoutMs: ACTION_TIMEOUT_MS,
      deviceIds: [deviceId],
    };
    const started = await this.#ports.store.startRollout(request, actor, this.#ports.clock.nowUnixMs());
    if (started.outcome !== 'started') {
      return no(
        'lab-rollout-refused',
        `the rollout did not start: ${started.outcome}`,
        'holdfast explain DEVICE says what it lacks: it must be enrolled, and have slots.',
      );
    }
    for (const id of started.touched.rollouts) this.#ports.events.emit({ kind: 'rollout', id });
    for (const id of started.touched.hints) this.#ports.events.emit({ kind: 'hint', id });
    const { version, sequence } = content;
    return { ok: true, answer: { rolloutId: started.rolloutId, version, sequence } };
  }
}

/** The published release that the device runs, if it is one. */
function running(releases: readonly ReleaseListing[], device: DeviceView, channel: string): ReleaseListing | undefined {
  return releases.find(
    ({ entry }) =>
      entry.hardwareClass === device.hardwareClass &&
      entry.channel === channel &&
      entry.sequence === device.installed?.sequence,
  );
}

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
