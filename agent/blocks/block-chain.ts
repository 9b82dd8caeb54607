/**
 * Every block of one image, each by the cheapest way that works for it. A way that fails for a block costs this block the
 * next way, and no other block anything; one that fails too often, or has nothing of this image, is left out from then on.
 *
 * Invariants: only the whole block, from the image itself, can refuse: what the smaller forms say decides nothing.
 */
import type { Verified } from '../../trust/bytes.ts';
import type { Verdict } from '../../trust/refusal.ts';
import type { WayName } from './fetched-bytes.ts';
import type { BlockWay, ImageFacts, NotGot, WantedBlock } from './way.ts';
import { fetchWhole } from './whole-way.ts';

/** So many failures, and more of them than a quarter of what it made: the way is given up. */
const FAILURES_AT_LEAST = 8;
const FAILURES_OF_MADE = 0.25;

/** A block came another way than the one before it in the list: said for each kind once. */
export type OnFallback = (way: WayName, why: string, detail: string) => void;

interface Tried {
  readonly way: BlockWay;
  made: number;
  failed: number;
  /** Why it is left out. */
  givenUp: string;
}

export class BlockChain {
  readonly #facts: ImageFacts;
  readonly #onFallback: OnFallback;
  readonly #tried: readonly Tried[];

  constructor(facts: ImageFacts, ways: readonly BlockWay[], onFallback: OnFallback) {
    this.#facts = facts;
    this.#onFallback = onFallback;
    this.#tried = ways.map((way) => ({ way, made: 0, failed: 0, givenUp: '' }));
  }

  /** Throws SourceUnreachable; refuses what the whole block is refused for. */
  async obtain(wanted: WantedBlock): Promise<Verdict<Verified<Uint8Array>>> {
    const begun = wanted.memory.partOf(this.#facts.path) === wanted.index;
    let nearly = false;
    for (const tried of this.#tried) {
      // Bytes of this block that arrived before a cut are not overwritten by another way's.
      if (tried.givenUp !== '' || (begun && tried.way.name !== 'packed')) continue;
      const outcome = await tried.way.obtain({ ...wanted, nearly });
      if (outcome.got) {
        tried.made += 1;
        return { ok: true, value: outcome.block };
      }
      this.#count(tried, outcome);
      nearly = outcome.nearly === true;
    }
    return fetchWhole(this.#facts, wanted);
  }

  /** Ways that are left out, and why: `recipe transport-unknown`. */
  describe(): string[] {
    return this.#tried.flatMap(({ way, givenUp }) => (givenUp === '' ? [] : [`${way.name} ${givenUp}`]));
  }

  async close(): Promise<void> {
    for (const { way } of this.#tried) await way.close();
  }

  #count(tried: Tried, { why, detail, forGood }: NotGot): void {
    tried.failed += 1;
    const tooOften = tried.failed >= FAILURES_AT_LEAST && tried.failed > tried.made * FAILURES_OF_MADE;
    if (forGood === true || tooOften) tried.givenUp ||= why;
    this.#onFallback(tried.way.name, why, detail);
  }
}
