/**
 * Deflate streams made of old ones: the old ones puffed, patched, and spelled as deflate again.
 *
 * Invariants: memory is taken once and grows to what the largest stream of a recipe needs, at most 7 MiB.
 */
import { DEFLATED_CAP_BYTES, PUFFED_CAP_BYTES } from '../format.ts';
import type { OldImage } from './old-image.ts';
import type { DeflateInput } from './pack.ts';
import { puff, unpuff } from './puff.ts';

/** The old image has no such stream (`source`), or the recipe makes none. */
export class NotThatStream extends Error {
  override readonly name = 'NotThatStream';
  readonly source: boolean;

  constructor(source: boolean) {
    super(`${source ? 'the old slot has' : 'the recipe makes'} no such deflate stream`);
    this.source = source;
  }
}

export class DeflatedStreams {
  readonly #old: OldImage;
  /** Old streams puffed, one after another: those of now, and those of the stream before, which are often the same. */
  #now = new Uint8Array(0);
  #before = new Uint8Array(0);
  #held: readonly DeflateInput[] = [];
  /** The new stream puffed, and streams as they are stored. */
  #puffed = new Uint8Array(0);
  #stored = new Uint8Array(0);

  constructor(old: OldImage) {
    this.#old = old;
  }

  /** What additions read. Rejects with NotThatStream and OldSlotUnreadable. */
  async puffInputs(inputs: readonly DeflateInput[]): Promise<Uint8Array> {
    const held = this.#held;
    this.#held = [];
    [this.#now, this.#before] = [this.#before, this.#now];
    const totalBytes = inputs.reduce((sum, input) => sum + input.puffedBytes, 0);
    this.#now = atLeast(this.#now, totalBytes, PUFFED_CAP_BYTES);
    let at = 0;
    for (const input of inputs) {
      const into = this.#now.subarray(at, at + input.puffedBytes);
      if (!this.#take(input, held, into)) await this.#puff(input, into);
      at += input.puffedBytes;
    }
    this.#held = inputs;
    return this.#now.subarray(0, at);
  }

  /** Room for the new stream's puffed form. */
  puffed(sizeBytes: number): Uint8Array {
    this.#puffed = atLeast(this.#puffed, sizeBytes, PUFFED_CAP_BYTES);
    return this.#puffed.subarray(0, sizeBytes);
  }

  /** Fills `into` from `start` on of the stream that the last `puffed` spells. Throws NotThatStream. */
  spell(puffedBytes: number, prefixBytes: number, start: number, into: Uint8Array): void {
    this.#stored = atLeast(this.#stored, DEFLATED_CAP_BYTES, DEFLATED_CAP_BYTES);
    const length = unpuff(this.#puffed.subarray(0, puffedBytes), prefixBytes, this.#stored) ?? 0;
    if (start + into.length > length) throw new NotThatStream(false);
    into.set(this.#stored.subarray(start, start + into.length));
  }

  #take(input: DeflateInput, held: readonly DeflateInput[], into: Uint8Array): boolean {
    let at = 0;
    for (const other of held) {
      if (other.at === input.at && other.sizeBytes === input.sizeBytes && other.prefixBytes === input.prefixBytes) {
        if (other.puffedBytes !== input.puffedBytes) return false;
        into.set(this.#before.subarray(at, at + into.length));
        return true;
      }
      at += other.puffedBytes;
    }
    return false;
  }

  async #puff({ at, sizeBytes, prefixBytes }: DeflateInput, into: Uint8Array): Promise<void> {
    this.#stored = atLeast(this.#stored, sizeBytes, DEFLATED_CAP_BYTES);
    await this.#old.copyTo(this.#stored, 0, sizeBytes, at);
    const puffedBytes = puff(this.#stored.subarray(0, sizeBytes), prefixBytes, into);
    if (puffedBytes !== into.length) throw new NotThatStream(true);
  }
}

function atLeast(memory: Uint8Array<ArrayBuffer>, sizeBytes: number, capBytes: number): Uint8Array<ArrayBuffer> {
  return memory.length >= sizeBytes ? memory : new Uint8Array(Math.min(capBytes, sizeBytes + (sizeBytes >> 1)));
}
