/**
 * Fetching one release: the ways to come by the blocks of each of its images, kept from the first try to the last, so that
 * a network that is cut a hundred times asks for nothing twice. Ends with the action, or when another release is wanted.
 *
 * May not: be needed. A restart begins with a new one, and fetches at most what was in flight.
 */
import { OLD_CHUNK_BYTES } from '../../delta/decode/old-image.ts';
import { alignedMemory, DIRECT_ALIGNMENT_BYTES } from '../../platform/aligned-memory.ts';
import { accept, type Verdict } from '../../trust/refusal.ts';
import type { ReleaseImage } from '../../trust/release.ts';
import type { EnginePorts, Slot } from '../core/ports.ts';
import { blockMapOf, imageSourcePath, type ObtainedRelease } from '../obtain-release.ts';
import { BlockChain } from './block-chain.ts';
import { CopyWay } from './copy-way.ts';
import { FetchedBytes } from './fetched-bytes.ts';
import { OldSlotImage, oldDigestOf } from './old-image.ts';
import { PackedWay } from './packed-way.ts';
import { Patience } from './patience.ts';
import { TABLE_READ_BYTES } from './piece-table.ts';
import { PiecesWay } from './pieces-way.ts';
import { removeSpools } from './recipe-spool.ts';
import { RecipeWay } from './recipe-way.ts';
import type { BlockWay, ImageFacts } from './way.ts';

export interface FetchSettings {
  readonly ports: Pick<EnginePorts, 'disk' | 'board' | 'source' | 'clock' | 'reporter' | 'log'>;
  readonly obtained: ObtainedRelease;
  readonly booted: Slot;
  readonly target: Slot;
  /** What the running slot holds; undefined when no record says. */
  readonly bootedSequence: number | undefined;
  readonly stateDirectory: string;
  /** How long to wait, all in all, for what the server is still making. */
  readonly waitMs: number;
  readonly interrupted: () => boolean;
}

export class ReleaseFetch {
  readonly obtained: ObtainedRelease;
  readonly fetched = new FetchedBytes();
  readonly #settings: FetchSettings;
  readonly #patience: Patience;
  readonly #spoolDirectory: string;
  readonly #chains = new Map<string, BlockChain>();
  readonly #said = new Set<string>();
  /** Of reading the running slot past the page cache. Images are filled one after another. */
  #memory: Uint8Array | undefined;

  constructor(settings: FetchSettings) {
    this.#settings = settings;
    this.obtained = settings.obtained;
    this.#patience = new Patience(settings.ports.clock, settings.waitMs, settings.interrupted);
    this.#spoolDirectory = `${settings.stateDirectory}/transport`;
  }

  async chainOf(image: ReleaseImage): Promise<Verdict<BlockChain>> {
    const known = this.#chains.get(image.component);
    if (known !== undefined) return accept(known);
    const path = imageSourcePath(this.obtained, image);
    if (!path.ok) return path;
    const facts: ImageFacts = {
      ports: this.#settings.ports,
      image,
      map: blockMapOf(this.obtained, image),
      path: path.value,
      fetched: this.fetched,
      patience: this.#patience,
    };
    const chain = new BlockChain(facts, this.#waysOf(facts), (way, why, detail) =>
      this.#say(`${image.component}: ${way} ${why}`, detail),
    );
    this.#chains.set(image.component, chain);
    return accept(chain);
  }

  /** `fetched 3145728 of 536870912 bytes (recipe 3145728); left out: …`: the sum of it, for a person. */
  describe(): string {
    const sizeBytes = this.obtained.release.images.reduce((sum, image) => sum + image.sizeBytes, 0);
    const leftOut = [...this.#chains].flatMap(([name, chain]) => chain.describe().map((why) => `${name}: ${why}`));
    const ways = this.fetched.describe();
    const tail = leftOut.length === 0 ? '' : `; left out: ${leftOut.join(', ')}`;
    return `fetched ${this.fetched.totalBytes} of ${sizeBytes} bytes${ways === '' ? '' : ` (${ways})`}${tail}`;
  }

  /** Gives back files and memory. The release is written, or nobody wants it any more. */
  async end(): Promise<void> {
    for (const chain of this.#chains.values()) await chain.close();
    this.#chains.clear();
    await removeSpools(this.#settings.ports.disk, this.#spoolDirectory);
  }

  #waysOf(facts: ImageFacts): BlockWay[] {
    const { ports, booted, target, bootedSequence } = this.#settings;
    const { transport } = ports.source;
    const { component, sha256 } = facts.image;
    const { release, trusted } = this.obtained;
    const oldSha256 =
      bootedSequence === undefined ? undefined : oldDigestOf(trusted.targets, release, bootedSequence, component);
    const slotImage = (slot: Slot, memory: Uint8Array) => new OldSlotImage(ports, slot, component, memory);
    const memory = this.#memory ?? alignedMemory(OLD_CHUNK_BYTES + TABLE_READ_BYTES + DIRECT_ALIGNMENT_BYTES);
    this.#memory = memory;
    const chunk = memory.subarray(0, OLD_CHUNK_BYTES);
    const ways: BlockWay[] = [];
    if (oldSha256 === sha256) ways.push(new CopyWay(facts, slotImage(booted, chunk)));
    if (transport === undefined) return ways;
    if (oldSha256 !== undefined && oldSha256 !== sha256) {
      const spoolDirectory = this.#spoolDirectory;
      ways.push(new RecipeWay({ ...facts, transport, old: slotImage(booted, chunk), oldSha256, spoolDirectory }));
    }
    const window = memory.subarray(OLD_CHUNK_BYTES, OLD_CHUNK_BYTES + TABLE_READ_BYTES);
    const piece = memory.subarray(OLD_CHUNK_BYTES + TABLE_READ_BYTES);
    ways.push(
      new PiecesWay({
        ...facts,
        transport,
        old: slotImage(booted, window),
        samePlaces: [slotImage(booted, piece), slotImage(target, piece)],
      }),
      new PackedWay(facts, transport),
    );
    return ways;
  }

  /** Each kind once: a slot that changed in a thousand places is one notice. */
  #say(kind: string, detail: string): void {
    if (this.#said.has(kind)) return;
    this.#said.add(kind);
    this.#settings.ports.log.info('blocks come another way', { kind, detail });
    const text = `${kind}: ${detail}; these blocks come another way`;
    void this.#settings.ports.reporter
      .record({ kind: 'notice', code: 'transport-fallback', detail: text.slice(0, 512) })
      .catch((error: unknown) =>
        this.#settings.ports.log.warn('a notice could not be recorded', { why: String(error) }),
      );
  }
}
