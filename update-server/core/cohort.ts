/**
 * Who comes when. A device's place in a rollout is a hash of both names, as a fraction of one: nobody chooses it,
 * anybody can compute it beforehand, it never changes, and another rollout begins with other devices.
 *
 * Waves are cut from the cohort in the order of places. A wave of n devices takes the n lowest places, one of p percent
 * the lowest p percent (rounded up: one device at least); each includes the waves before it. So a larger percentage only adds.
 */
import type { Wave } from '../../protocol/operator-api.ts';
import { sha256 } from '../../trust/crypto.ts';

const TEXT = new TextEncoder();
const PLACE_BYTES = 6;

/** The device's place: 0 ≤ place < 1, from the first 48 bits of SHA-256("holdfast place 1" ‖ 0 ‖ rollout ‖ 0 ‖ device). */
export function placeOf(rolloutId: string, deviceId: string): number {
  const digest = sha256(TEXT.encode(`holdfast place 1\0${rolloutId}\0${deviceId}`));
  let place = 0;
  for (const byte of digest.subarray(0, PLACE_BYTES)) place = place * 256 + byte;
  return place / 2 ** (8 * PLACE_BYTES);
}

/** The cohort, lowest place first; equal places by id. */
export function orderCohort(rolloutId: string, deviceIds: readonly string[]): string[] {
  const placed = [...new Set(deviceIds)].map((deviceId) => ({ deviceId, place: placeOf(rolloutId, deviceId) }));
  placed.sort((a, b) => a.place - b.place || (a.deviceId < b.deviceId ? -1 : 1));
  return placed.map((entry) => entry.deviceId);
}

/** How many devices a wave holds, with those of the waves before it. */
export function waveSize(wave: Wave, cohortSize: number): number {
  const wanted = 'devices' in wave ? wave.devices : Math.ceil((wave.percent * cohortSize) / 100);
  return Math.min(wanted, cohortSize);
}

export interface PlannedPart {
  readonly deviceId: string;
  /** Order in the cohort, from 0. */
  readonly rank: number;
  /** Index of the wave that adds this device. */
  readonly wave: number;
}

/** The whole plan. Devices beyond the last wave have no part in the rollout. */
export function planWaves(rolloutId: string, deviceIds: readonly string[], waves: readonly Wave[]): PlannedPart[] {
  const ordered = orderCohort(rolloutId, deviceIds);
  const parts: PlannedPart[] = [];
  waves.forEach((wave, index) => {
    const size = waveSize(wave, ordered.length);
    for (const deviceId of ordered.slice(parts.length, size)) parts.push({ deviceId, rank: parts.length, wave: index });
  });
  return parts;
}

/**
 * Does a device that comes after the start belong to the rollout? Only where its last wave is a percentage, by place:
 * it then joins that last wave, so that nobody who comes late disturbs the count of an earlier one.
 */
export function joinsLate(rolloutId: string, deviceId: string, waves: readonly Wave[]): boolean {
  const last = waves.at(-1);
  return last !== undefined && 'percent' in last && placeOf(rolloutId, deviceId) * 100 < last.percent;
}

/** `1 device`, `25 %`. */
export function describeWave(wave: Wave): string {
  if ('percent' in wave) return `${wave.percent} %`;
  return wave.devices === 1 ? '1 device' : `${wave.devices} devices`;
}
