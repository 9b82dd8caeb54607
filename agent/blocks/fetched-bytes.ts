/**
 * How many bytes came over the wire by which way, since the agent started on this release; and reading from a source so
 * that they are counted, also when the transfer breaks.
 */
import type { ImageTransport, RangeMemory, TransportAnswer } from '../core/ports.ts';

/** From the cheapest on. `copy`: the running slot holds the same image. */
export type WayName = 'copy' | 'recipe' | 'pieces' | 'packed' | 'whole';

export class FetchedBytes {
  readonly #byWay = new Map<WayName, number>();

  add(way: WayName, bytes: number): void {
    this.#byWay.set(way, (this.#byWay.get(way) ?? 0) + bytes);
  }

  get totalBytes(): number {
    return [...this.#byWay.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  /** `recipe 12345, packed 678`; empty while nothing came. */
  describe(): string {
    return [...this.#byWay].map(([way, bytes]) => `${way} ${bytes}`).join(', ');
  }

  /** Runs `fetch`, counts what arrived in `into` beyond what lay there. */
  async counting<T>(way: WayName, into: RangeMemory, fetch: () => Promise<T>): Promise<T> {
    try {
      return await fetch();
    } finally {
      this.add(way, into.received);
    }
  }

  read(
    way: WayName,
    transport: ImageTransport,
    path: string,
    offset: number,
    into: RangeMemory,
  ): Promise<TransportAnswer> {
    return this.counting(way, into, () => transport.read(path, offset, into));
  }
}
