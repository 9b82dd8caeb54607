/**
 * Time as a device without a trustworthy clock can know it: a floor that only signed time raises, and a clock that
 * counts when it is synchronised. Also the one reader and writer of TUF's date form.
 *
 * Invariants: the floor never falls, and never passes the expiry of the accepted root: one poisoned date must not end
 * all updates. Nothing here reads a clock.
 */

export interface TrustTime {
  /** Unix seconds: the latest signed time this device has accepted. */
  readonly floorUnixS: number;
  /** Unix seconds of a synchronised clock; undefined when there is none. */
  readonly synchronisedUnixS: number | undefined;
}

export interface JudgedTime {
  /** Expiry is judged at this time. */
  readonly nowUnixS: number;
  /** Without a synchronised clock, "not expired" only means: not expired at the floor. */
  readonly synchronised: boolean;
}

/** The later of floor and synchronised clock (a clock set back must not bring expired metadata back). */
export function judgeTime(time: TrustTime): JudgedTime {
  const synchronised = time.synchronisedUnixS !== undefined;
  return { nowUnixS: Math.max(time.floorUnixS, time.synchronisedUnixS ?? 0), synchronised };
}

/** TUF 5.3.10: the expiry must be higher than the start time, so at the second itself it has expired. */
export function hasExpired(expiresUnixS: number, now: JudgedTime): boolean {
  return expiresUnixS <= now.nowUnixS;
}

const TUF_DATE = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})Z$/;

/** Unix seconds of `YYYY-MM-DDTHH:MM:SSZ` (TUF §4.2.1); undefined for any other text and for dates that do not exist. */
export function decodeTufDate(text: string): number | undefined {
  const found = TUF_DATE.exec(text);
  if (found === null) return undefined;
  const [year, month, day, hour, minute, second] = found.slice(1).map(Number);
  const unixMs = Date.UTC(year ?? 0, (month ?? 0) - 1, day ?? 0, hour ?? 0, minute ?? 0, second ?? 0);
  // Date.UTC carries February 30 into March; the way back shows it.
  return Number.isFinite(unixMs) && encodeTufDate(unixMs / 1000) === text ? unixMs / 1000 : undefined;
}

/** `YYYY-MM-DDTHH:MM:SSZ`, in UTC, fractions of a second cut off. Throws RangeError beyond the year 9999. */
export function encodeTufDate(unixS: number): string {
  const text = new Date(Math.floor(unixS) * 1000).toISOString();
  if (text.length !== '2026-01-01T00:00:00.000Z'.length) throw new RangeError(`${unixS} is beyond the year 9999`);
  return `${text.slice(0, 19)}Z`;
}

export interface TimeFloorRaise {
  readonly floorUnixS: number;
  /** A signed time: the build date of a release that was confirmed, or a witness's time. */
  readonly signedUnixS: number;
  readonly rootExpiresUnixS: number;
}

/**
 * The new floor: never lower than before, and signed time counts only to the second before the accepted root's expiry.
 * At the expiry itself the root would have expired (TUF 5.3.10), and one poisoned date would have ended all updates.
 */
export function raiseTimeFloor(raise: TimeFloorRaise): number {
  return Math.max(raise.floorUnixS, Math.min(raise.signedUnixS, raise.rootExpiresUnixS - 1));
}
