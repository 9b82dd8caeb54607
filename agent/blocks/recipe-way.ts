/**
 * Blocks made from the running slot and a recipe (docs/DELTA.md). One is made at a time; meanwhile the others are
 * written.
 *
 * Invariants: a recipe for other images, one that is longer than it is worth, and one that fails too often are given up.
 */
import { type BlockOutcome, DeltaDecoder, readRecipeIndex } from '../../delta/decode/decoder.ts';
import { transportPaths } from '../../protocol/image-transport.ts';
import { hex } from '../../trust/bytes.ts';
import { type ImageTransport, SourceUnreachable } from '../core/ports.ts';
import { OneAtATime } from '../one-at-a-time.ts';
import type { OldSlotImage } from './old-image.ts';
import { RecipeSpool } from './recipe-spool.ts';
import { type BlockWay, type ImageFacts, type NotGot, notGot, type WantedBlock, type WayOutcome } from './way.ts';

/** A recipe longer than this share of the image is not worth its bytes: packed blocks are about as long. */
const WORTH_OF_IMAGE = 0.5;

export interface RecipeFacts extends ImageFacts {
  readonly transport: ImageTransport;
  readonly old: OldSlotImage;
  readonly oldSha256: string;
  /** Where the recipe may be kept while it is used. */
  readonly spoolDirectory: string;
}

export class RecipeWay implements BlockWay {
  readonly name = 'recipe';
  readonly #facts: RecipeFacts;
  readonly #turn = new OneAtATime();
  #spool: RecipeSpool | undefined;
  #decoder: DeltaDecoder | undefined;
  #askAgainMs = Number.NEGATIVE_INFINITY;
  /** What was kept turned out wrong once: it is not believed again. */
  #distrusted = false;

  constructor(facts: RecipeFacts) {
    this.#facts = facts;
  }

  obtain(wanted: WantedBlock): Promise<WayOutcome> {
    return this.#turn.run(() => this.#obtain(wanted));
  }

  close(): Promise<void> {
    return this.#turn.run(async () => {
      this.#decoder?.release();
      this.#decoder = undefined;
      await this.#spool?.close();
      this.#spool = undefined;
      await this.#facts.old.close();
    });
  }

  async #obtain(wanted: WantedBlock): Promise<WayOutcome> {
    const decoder = await this.#open();
    if ('got' in decoder) return decoder;
    wanted.memory.forget();
    const outcome = await decoder.produce(wanted.index, wanted.memory.bytes);
    if (outcome.made) return { got: true, block: outcome.bytes };
    const cause = this.#spool?.failure;
    if (outcome.why === 'recipe-unreachable' && cause instanceof SourceUnreachable) throw cause;
    if (outcome.why === 'recipe-malformed' && this.#spool?.isResumed === true && !this.#distrusted) {
      // A power cut may have left other bytes in the file than were fetched.
      await this.#forgetSpool();
      return this.#obtain(wanted);
    }
    return outcomeOf(outcome);
  }

  async #open(): Promise<DeltaDecoder | NotGot> {
    if (this.#decoder !== undefined) return this.#decoder;
    const { ports, transport, fetched, image, oldSha256, spoolDirectory, patience } = this.#facts;
    if (ports.clock.monotonicMs() < this.#askAgainMs) return notGot('in-preparation', 'the recipe is being made');
    const path = transportPaths.recipe(image.sha256, oldSha256);
    const place = { disk: ports.disk, directory: spoolDirectory, name: `${image.sha256}-${oldSha256}` };
    for (;;) {
      const opened = await RecipeSpool.open(
        (offset, into) => fetched.read('recipe', transport, path, offset, into),
        place,
        Math.ceil(image.sizeBytes * WORTH_OF_IMAGE),
      );
      if (opened instanceof RecipeSpool) return this.#begin(opened);
      if (opened.found === 'nothing') return notGot(opened.why, 'no recipe', { forGood: true });
      if (await patience.wait(opened.afterMs)) continue;
      this.#askAgainMs = ports.clock.monotonicMs() + opened.afterMs;
      return notGot(opened.why, 'the recipe is being made');
    }
  }

  async #begin(spool: RecipeSpool): Promise<DeltaDecoder | NotGot> {
    const { map, image, oldSha256, old } = this.#facts;
    this.#spool = spool;
    try {
      const index = await readRecipeIndex(spool, spool.totalBytes);
      const right = index.ok && hex(index.value.newSha256) === image.sha256 && hex(index.value.oldSha256) === oldSha256;
      if (right && index.value.newSizeBytes === map.imageSizeBytes) {
        this.#decoder = new DeltaDecoder({ index: index.value, recipe: spool, old, map });
        return this.#decoder;
      }
      const resumed = spool.isResumed && !this.#distrusted;
      await this.#forgetSpool();
      if (resumed) return this.#open();
      return notGot('recipe-malformed', index.ok ? 'for other images' : index.detail, { forGood: true });
    } catch (error) {
      await spool.close();
      this.#spool = undefined;
      if (error instanceof SourceUnreachable) throw error;
      return notGot('recipe-unreachable', String(error), { forGood: true });
    }
  }

  async #forgetSpool(): Promise<void> {
    this.#distrusted = true;
    this.#decoder?.release();
    this.#decoder = undefined;
    await this.#spool?.discard();
    this.#spool = undefined;
  }
}

function outcomeOf({ why, detail }: BlockOutcome & { made: false }): NotGot {
  return notGot(why, detail, { nearly: !why.startsWith('recipe-') });
}
