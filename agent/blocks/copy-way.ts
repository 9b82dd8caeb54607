/** The running slot holds the same image (a boot partition that a release does not change): nothing is fetched. */
import { blockSizeBytes, verifyBlock } from '../../trust/blocks.ts';
import type { OldSlotImage } from './old-image.ts';
import { type BlockWay, type ImageFacts, notGot, type WantedBlock, type WayOutcome } from './way.ts';

export class CopyWay implements BlockWay {
  readonly name = 'copy';
  readonly #facts: ImageFacts;
  readonly #old: OldSlotImage;

  constructor(facts: ImageFacts, old: OldSlotImage) {
    this.#facts = facts;
    this.#old = old;
  }

  async obtain({ index, memory }: WantedBlock): Promise<WayOutcome> {
    const { map } = this.#facts;
    const block = memory.bytes.subarray(0, blockSizeBytes(map, index));
    try {
      const found = await this.#old.readInto(block, index * map.blockBytes);
      const verdict = verifyBlock(map, index, block.subarray(0, found));
      return verdict.ok ? { got: true, block: verdict.value } : notGot('source-changed', verdict.detail);
    } catch (error) {
      return notGot('source-unreadable', String(error));
    }
  }

  close(): Promise<void> {
    return this.#old.close();
  }
}
