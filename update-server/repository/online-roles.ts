/**
 * When snapshot and timestamp are signed anew, and as which version. Pure decisions.
 *
 * Versions are `max(previous + 1, Unix seconds)`: a server that was restored from an old backup still issues higher
 * ones than its devices have seen, and strands nobody.
 */
import { encodeTufDate } from '../../trust/time.ts';

const DAY_S = 24 * 3600;
export const ONLINE_LIFE_S = { snapshot: 14 * DAY_S, timestamp: 3 * DAY_S } as const;
export type OnlineRole = keyof typeof ONLINE_LIFE_S;

export const nextOnlineVersion = (previous: number, nowUnixS: number): number =>
  Math.max(previous + 1, Math.floor(nowUnixS));

export const expiryOf = (role: OnlineRole, nowUnixS: number): string => encodeTufDate(nowUnixS + ONLINE_LIFE_S[role]);

/** Renewal is due when a third of the life is left, so that a server which was down for a day is still in time. */
export const renewalDue = (role: OnlineRole, expiresUnixS: number, nowUnixS: number): boolean =>
  expiresUnixS - nowUnixS <= ONLINE_LIFE_S[role] / 3;
