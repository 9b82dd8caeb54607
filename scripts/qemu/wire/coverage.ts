/**
 * Which doors of a device were really tried while it was still closed: read from recordings, not from what the knocker
 * meant to send. A door counts once the device's own first frame shows that its link is up: what the card was given
 * before may have waited for a driver.
 */
import { isFrom, type TimedFrame } from './capture.ts';
import { type Family, type Knock, knockIn } from './frames.ts';
import { LAST_PORT } from './knocker.ts';

export type Doors = Readonly<Record<Knock['kind'], Readonly<Record<Family, ReadonlySet<number>>>>>;

/** A sweep that is under way will try so many more. */
const UNDER_WAY = 2000;

const noDoors = () => ({
  tcp: { 4: new Set<number>(), 6: new Set<number>() },
  udp: { 4: new Set<number>(), 6: new Set<number>() },
});

/** Doors of `mac` that somebody knocked at, from its first own frame until the moment. */
export function triedBefore(frames: Iterable<TimedFrame>, mac: Uint8Array, momentUnixMs: number): Doors {
  const tried = noDoors();
  let isUp = false;
  for (const { atUnixMs, frame } of frames) {
    if (isFrom(frame, mac)) {
      isUp = true;
      continue;
    }
    const knock = isUp && atUnixMs < momentUnixMs ? knockIn(frame) : undefined;
    if (knock !== undefined) tried[knock.kind][knock.family].add(knock.port);
  }
  return tried;
}

/** The doors of several recordings together. */
export class Coverage {
  readonly #doors = noDoors();

  add(tried: Doors): void {
    for (const kind of ['tcp', 'udp'] as const) {
      for (const family of [4, 6] as const) for (const port of tried[kind][family]) this.#doors[kind][family].add(port);
    }
  }

  count(kind: Knock['kind'], family: Family): number {
    return this.#doors[kind][family].size;
  }

  /** Every TCP port, in both families. */
  get isWhole(): boolean {
    return this.count('tcp', 4) >= LAST_PORT && this.count('tcp', 6) >= LAST_PORT;
  }

  /** The first TCP port that is not tried in both families, and that no sweep begun at one of `underWay` comes to; 1: there is none. */
  nextPort(underWay: readonly number[] = []): number {
    const { 4: four, 6: six } = this.#doors.tcp;
    for (let port = 1; port <= LAST_PORT; port += 1) {
      if (four.has(port) && six.has(port)) continue;
      if (!underWay.some((from) => port >= from && port < from + UNDER_WAY)) return port;
    }
    return 1;
  }
}
