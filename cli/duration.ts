/** Durations on the command line: a whole number and a unit, so that nobody has to guess whether 10 means seconds. */
import { EXIT, Fault } from '../platform/fault.ts';

const UNITS_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const PATTERN = /^(\d{1,9})(ms|s|m|h|d)$/;
const LIMIT_MS = 365 * UNITS_MS.d;

/** Milliseconds. Fault `duration-malformed` for anything but `<number><ms|s|m|h|d>`, up to a year. `option` names the place. */
export function parseDuration(text: string, option: string): number {
  const match = PATTERN.exec(text);
  const unit = match?.[2] as keyof typeof UNITS_MS | undefined;
  const durationMs = match?.[1] === undefined || unit === undefined ? Number.NaN : Number(match[1]) * UNITS_MS[unit];
  if (durationMs <= LIMIT_MS) return durationMs;
  throw new Fault({
    code: 'duration-malformed',
    what: Number.isNaN(durationMs) ? `'${text}' is not a duration` : `'${text}' is longer than a year`,
    where: option,
    cure: 'Write a whole number and a unit without a space: 500ms, 30s, 10m, 2h or 7d.',
    exitStatus: EXIT.usage,
  });
}

/** A duration for people: `1.4 s`, `3 min 05 s`, `2 h 10 min`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 60_000) return `${(durationMs / 1000).toFixed(durationMs < 10_000 ? 1 : 0)} s`;
  const minutes = Math.floor(durationMs / 60_000);
  if (minutes < 60) return `${minutes} min ${String(Math.floor((durationMs % 60_000) / 1000)).padStart(2, '0')} s`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
  return `${Math.floor(minutes / 1440)} days`;
}

/** A moment for people, in UTC to the second. */
export function formatMoment(unixMs: number): string {
  return new Date(unixMs)
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replace('T', ' ');
}
