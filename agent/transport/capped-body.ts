/**
 * Reads the body of an answer: never more than its cap, never slower than the minimum rate for longer than the budget.
 * Used for everything that a server sends.
 */
import type { Readable } from 'node:stream';
import { errorText } from '../../platform/fault.ts';
import { accept, refuse, type Verdict } from '../../trust/refusal.ts';
import { type RangeMemory, SourceUnreachable } from '../core/ports.ts';
import { monotonicMs } from '../system-clock.ts';
import type { BandwidthLimit } from './bandwidth-limit.ts';

export interface TransferLimits {
  /** Averaged over `windowMs`. A source below it keeps a device busy for ever without ever being cut off. */
  readonly minBytesPerSecond: number;
  readonly windowMs: number;
  /** No byte at all for this long: the connection is dead. */
  readonly silenceMs: number;
}

export const TRANSFER_LIMITS: TransferLimits = { minBytesPerSecond: 1024, windowMs: 30_000, silenceMs: 15_000 };

/** A pause that is shorter would cost more than it holds up. */
const SHORTEST_PAUSE_MS = 10;

class TooSlow extends Error {}
class TooMuch extends Error {}

export interface BodyWishes {
  /** Where the body goes; it has room for the cap. Without it, memory is made as the body comes. */
  readonly into?: RangeMemory;
  readonly bandwidth?: BandwidthLimit;
}

/** Refuses `transfer-endless` and `transfer-too-slow`; throws SourceUnreachable when cut off or silent. */
export async function readCapped(
  body: Readable,
  capBytes: number,
  limits: TransferLimits,
  what: string,
  wishes: BodyWishes = {},
): Promise<Verdict<Uint8Array>> {
  const rate = new RateWatch(limits, monotonicMs());
  const tickMs = Math.max(10, Math.min(1000, limits.windowMs / 4, limits.silenceMs / 4));
  const watch = setInterval(() => {
    const trouble = rate.troubleAt(monotonicMs());
    if (trouble !== undefined) body.destroy(trouble);
  }, tickMs);
  const taken = new TakenBytes(capBytes, wishes.into);
  try {
    await eachChunk(body, (chunk) => {
      if (!taken.take(chunk)) throw new TooMuch();
      const nowMs = monotonicMs();
      rate.count(chunk.length, nowMs);
      const pauseMs = wishes.bandwidth?.pauseAfterMs(chunk.length, nowMs) ?? 0;
      if (pauseMs >= SHORTEST_PAUSE_MS) {
        pauseFor(body, pauseMs);
        rate.excuse(pauseMs);
      }
    });
    return accept(taken.whole());
  } catch (error) {
    if (error instanceof TooMuch)
      return refuse('transfer-endless', `${what}: more than the ${capBytes} bytes it may have`);
    if (error instanceof TooSlow) return refuse('transfer-too-slow', `${what}: ${error.message}`);
    throw new SourceUnreachable(`${what}: ${errorText(error)} after ${taken.bytes} bytes`, { cause: error });
  } finally {
    clearInterval(watch);
  }
}

/**
 * Every chunk as it comes. Not by iterating: a stream that breaks throws away what waits in it, up to 64 KiB of each
 * transfer, and that would be fetched again.
 */
function eachChunk(body: Readable, take: (chunk: Buffer) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    body.once('end', resolve);
    body.on('error', reject);
    body.once('close', () => reject(new Error('the connection closed')));
    body.on('data', (chunk: Buffer) => {
      try {
        take(chunk);
      } catch (error) {
        reject(error);
        body.destroy();
      }
    });
  });
}

function pauseFor(body: Readable, pauseMs: number): void {
  body.pause();
  setTimeout(() => body.resume(), pauseMs);
}

/** What came so far, never more than the cap. */
class TakenBytes {
  readonly #capBytes: number;
  readonly #into: RangeMemory | undefined;
  readonly #chunks: Buffer[] = [];
  bytes = 0;

  constructor(capBytes: number, into: RangeMemory | undefined) {
    this.#capBytes = capBytes;
    this.#into = into;
  }

  /** `false`, and nothing taken, when it is more than the cap. */
  take(chunk: Buffer): boolean {
    if (this.bytes + chunk.length > this.#capBytes) return false;
    if (this.#into === undefined) this.#chunks.push(chunk);
    else this.#into.bytes.set(chunk, this.bytes);
    this.bytes += chunk.length;
    if (this.#into !== undefined) this.#into.received = this.bytes;
    return true;
  }

  whole(): Uint8Array {
    return this.#into?.bytes.subarray(0, this.bytes) ?? joined(this.#chunks, this.bytes);
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

  /** We do not listen for so long: that is no slowness of the source's. */
  excuse(ms: number): void {
    this.#lastByteMs += ms;
    this.#windowStartMs += ms;
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
