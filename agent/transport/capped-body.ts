/**
 * Reads the body of an answer: never more than its cap, never slower than the minimum rate for longer than the budget.
 * Used for everything that a server sends.
 */
import type { Readable } from 'node:stream';
import { errorText } from '../../platform/fault.ts';
import { accept, refuse, type Verdict } from '../../trust/refusal.ts';
import { type RangeMemory, SourceUnreachable } from '../core/ports.ts';

export interface TransferLimits {
  /** Averaged over `windowMs`. A source below it keeps a device busy for ever without ever being cut off. */
  readonly minBytesPerSecond: number;
  readonly windowMs: number;
  /** No byte at all for this long: the connection is dead. */
  readonly silenceMs: number;
}

export const TRANSFER_LIMITS: TransferLimits = { minBytesPerSecond: 1024, windowMs: 30_000, silenceMs: 15_000 };

class TooSlow extends Error {}

/** `into` has room for `capBytes`. Refuses `transfer-endless` and `transfer-too-slow`; throws SourceUnreachable when cut off or silent. */
export async function readCapped(
  body: Readable,
  capBytes: number,
  limits: TransferLimits,
  what: string,
  into?: RangeMemory,
): Promise<Verdict<Uint8Array>> {
  const rate = new RateWatch(limits, performance.now());
  const tickMs = Math.max(10, Math.min(1000, limits.windowMs / 4, limits.silenceMs / 4));
  const watch = setInterval(() => {
    const trouble = rate.troubleAt(performance.now());
    if (trouble !== undefined) body.destroy(trouble);
  }, tickMs);
  const chunks: Buffer[] = [];
  let received = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      received += chunk.length;
      // Leaving the loop destroys the stream: nothing more is read.
      if (received > capBytes)
        return refuse('transfer-endless', `${what}: more than the ${capBytes} bytes it may have`);
      rate.count(chunk.length, performance.now());
      if (into === undefined) chunks.push(chunk);
      else into.bytes.set(chunk, received - chunk.length);
      if (into !== undefined) into.received = received;
    }
    return accept(into === undefined ? joined(chunks, received) : into.bytes.subarray(0, received));
  } catch (error) {
    if (error instanceof TooSlow) return refuse('transfer-too-slow', `${what}: ${error.message}`);
    throw new SourceUnreachable(`${what}: ${errorText(error)} after ${received} bytes`, { cause: error });
  } finally {
    clearInterval(watch);
  }
}

class RateWatch {
  readonly #limits: TransferLimits;
  #lastByteMs: number;
  #windowStartMs: number;
  #windowBytes = 0;

  constructor(limits: TransferLimits, nowMs: number) {
    this.#limits = limits;
    this.#lastByteMs = nowMs;
    this.#windowStartMs = nowMs;
  }

  count(bytes: number, nowMs: number): void {
    this.#windowBytes += bytes;
    this.#lastByteMs = nowMs;
  }

  /** Silence is a dead connection; a trickle is a source that must be left. */
  troubleAt(nowMs: number): Error | undefined {
    const { silenceMs, windowMs, minBytesPerSecond } = this.#limits;
    if (nowMs - this.#lastByteMs > silenceMs) return new Error(`nothing came for ${silenceMs} ms`);
    const elapsedMs = nowMs - this.#windowStartMs;
    if (elapsedMs < windowMs) return undefined;
    const atLeast = Math.ceil((minBytesPerSecond * elapsedMs) / 1000);
    if (this.#windowBytes < atLeast) {
      return new TooSlow(`${this.#windowBytes} bytes in ${Math.round(elapsedMs)} ms, at least ${atLeast} are asked`);
    }
    this.#windowStartMs = nowMs;
    this.#windowBytes = 0;
    return undefined;
  }
}

function joined(chunks: readonly Buffer[], length: number): Uint8Array {
  const [only] = chunks;
  const whole = chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks, length);
  return new Uint8Array(whole.buffer, whole.byteOffset, whole.length);
}
