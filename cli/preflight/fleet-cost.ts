/** What the bytes of one device come to for a fleet. */
import type { Flight, PreflightResult } from './preflight.ts';

const BYTES_PER_MB = 1_000_000;

export interface FleetCost {
  readonly delta: Flight['delta'];
  /** If every device fetches what the emulated one did. */
  readonly bytes: number;
  /** In whatever money the price was; null without a price. */
  readonly price: number | null;
}

/** One for each device that said what it fetched. */
export function fleetCosts(
  { devices }: Pick<PreflightResult, 'devices'>,
  fleet: number,
  pricePerMb: number | null,
): FleetCost[] {
  return devices.flatMap(({ delta, fetched }) => {
    if (fetched === null) return [];
    const bytes = fetched.fetchedBytes * fleet;
    return [{ delta, bytes, price: pricePerMb === null ? null : (bytes / BYTES_PER_MB) * pricePerMb }];
  });
}
