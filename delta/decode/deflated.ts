/**
 * Deflate streams made of old ones: the old ones puffed, patched, and spelled as deflate again.
 *
 * Invariants: memory is taken once and grows to what the largest stream of a recipe needs, at most 7 MiB.
 */
import { DEFLATED_CAP_BYTES, PUFFED_CAP_BYTES } from '../format.ts';
import type { OldImage } from './old-image.ts';
import type { DeflateInput } from './pack.ts';
import { puff, unpuff } from './puff.ts';

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

  /** What additions read. `undefined`: the old image has something else there. Rejects with OldSlotUnreadable. */
  async puffInputs(inputs: readonly DeflateInput[]): Promise<Uint8Array | undefined> {
    const held = this.#held;
    this.#held = [];
    [this.#now, this.#before] = [this.#before, this.#now];
    const totalBytes = inputs.reduce((sum, input) => sum + input.puffedBytes, 0);
    this.#now = atLeast(this.#now, totalBytes, PUFFED_CAP_BYTES);
    let at = 0;
    for (const input of inputs) {
      const into = this.#now.subarray(at, at + input.puffedBytes);
      if (!this.#take(input, held, into) && !(await this.#puff(input, into))) return undefined;
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

  /** `into.length` bytes from `start` of the stream that `puffed` spells. `false` when it has not so many, or is none. */
  spell(puffed: Uint8Array, prefixBytes: number, start: number, into: Uint8Array): boolean {
    this.#stored = atLeast(this.#stored, DEFLATED_CAP_BYTES, DEFLATED_CAP_BYTES);
    const length = unpuff(puffed, prefixBytes, this.#stored) ?? 0;
    if (start + into.length > length) return false;
    into.set(this.#stored.subarray(start, start + into.length));
    return true;
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

  async #puff({ at, sizeBytes, prefixBytes }: DeflateInput, into: Uint8Array): Promise<boolean> {
    this.#stored = atLeast(this.#stored, sizeBytes, DEFLATED_CAP_BYTES);
    await this.#old.copy(this.#stored, 0, sizeBytes, at);
    return puff(this.#stored.subarray(0, sizeBytes), prefixBytes, into) === into.length;
  }
}

function atLeast(memory: Uint8Array<ArrayBuffer>, sizeBytes: number, capBytes: number): Uint8Array<ArrayBuffer> {
  return memory.length >= sizeBytes ? memory : new Uint8Array(Math.min(capBytes, sizeBytes + (sizeBytes >> 1)));
}
