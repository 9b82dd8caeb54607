/**
 * The machine's clock and random numbers, as core's ports. A wall clock counts only when something vouches for it: a
 * Raspberry Pi without a network starts in the past, and expiry must not be judged by that.
 */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { Clock, Random } from './core/ports.ts';

/** systemd-timesyncd makes this file once it has set the clock (systemd-timesyncd.service(8)). */
const TIMESYNCD_MARKER = '/run/systemd/timesync/synchronized';

/** Milliseconds that never go back. Not `performance`: the first use of it loads half a megabyte for other things. */
export const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6;

/** `host`: the clock is trusted as it is (emulated boards, machines set by other means). */
export function systemClock(source: 'host' | 'timesyncd', marker = TIMESYNCD_MARKER): Clock {
  let synchronised = source === 'host';
  return {
    monotonicMs,
    wallUnixMs() {
      synchronised ||= existsSync(marker);
      return synchronised ? Date.now() : undefined;
    },
    /** Ends early, without an error, when the signal fires. */
    async sleep(ms, signal) {
      await pause(ms, undefined, signal === undefined ? {} : { signal }).catch((error: unknown) => {
        if (signal?.aborted !== true) throw error;
      });
    },
  };
}

export const systemRandom: Random = { bytes: (length) => new Uint8Array(randomBytes(length)) };
