/**
 * One deflate stream of the new image against some of the old: which of these it is made of, and how. Both are compared
 * puffed.
 */
import { DEFLATED_CAP_BYTES, INPUTS_AT_MOST, PUFFED_CAP_BYTES } from '../format.ts';
import { type MatchSink, matchNew, SeedIndex } from './matcher.ts';
import type { DeflateStream, Part, StoredStream } from './parts.ts';
import type { PuffedStreams } from './puffed-source.ts';

/** An old stream of which fewer bytes are used is not worth taking apart. */
const LEAST_USED_BYTES = 512;
/** Where more than this share of the puffed form is new, the stream is told as it is stored. */
const FRESH_AT_MOST = 0.9;

/** undefined where the new stream is like none of them, and is told as it is. */
export function planStream(
  fresh: StoredStream,
  freshStreams: PuffedStreams,
  candidates: readonly StoredStream[],
  oldStreams: PuffedStreams,
): DeflateStream | undefined {
  if (fresh.length > DEFLATED_CAP_BYTES) return undefined;
  const puffed = freshStreams.of(fresh);
  if (puffed === undefined) return undefined;
  const first = match(puffed, usable(candidates, oldStreams));
  const used = first.inputs.filter((_, place) => (first.used[place] ?? 0) >= LEAST_USED_BYTES);
  const best = used.length < first.inputs.length ? match(puffed, used) : first;
  if (best.freshBytes > puffed.length * FRESH_AT_MOST) return undefined;
  return { ...fresh, inputs: best.inputs.map(({ stream }) => stream), parts: best.parts };
}

interface Input {
  readonly stream: StoredStream;
  readonly puffed: Uint8Array;
}

function usable(candidates: readonly StoredStream[], oldStreams: PuffedStreams): Input[] {
  const inputs: Input[] = [];
  let totalBytes = 0;
  for (const stream of candidates) {
    const puffed = stream.length > DEFLATED_CAP_BYTES ? undefined : oldStreams.of(stream);
    if (puffed === undefined || totalBytes + puffed.length > PUFFED_CAP_BYTES) continue;
    totalBytes += puffed.length;
    inputs.push({ stream, puffed });
    if (inputs.length === INPUTS_AT_MOST) break;
  }
  return inputs;
}

function match(puffed: Uint8Array, inputs: readonly Input[]) {
  const sink = new StreamParts(inputs);
  const old = Buffer.concat(inputs.map((input) => input.puffed));
  matchNew(new SeedIndex(old), puffed, 0, sink);
  return { inputs, parts: sink.parts, used: sink.used, freshBytes: sink.freshBytes };
}

class StreamParts implements MatchSink {
  readonly parts: Part[] = [];
  /** By input: how many of its bytes. */
  readonly used: number[];
  readonly #ends: number[] = [];
  freshBytes = 0;

  constructor(inputs: readonly Input[]) {
    this.used = inputs.map(() => 0);
    let at = 0;
    for (const { puffed } of inputs) {
      at += puffed.length;
      this.#ends.push(at);
    }
  }

  near(_newStart: number, length: number, source: number): void {
    const input = this.#ends.findIndex((end) => source < end);
    this.used[input] = (this.used[input] ?? 0) + length;
    this.parts.push({ length, source });
  }

  fresh(_newStart: number, length: number): void {
    this.freshBytes += length;
    this.parts.push({ length, source: -1 });
  }
}
