/**
 * The gate at the end of a wave: wait, go on, or halt, each with its reason in words.
 *
 * - Success is a confirmed boot, never an installation.
 * - Failures are counted over the devices that attempted it, of those that this wave added: a failing wave must not hide
 *   behind the good ones before it, nor behind devices that are switched off.
 * - They count once `minSample` of them attempted it, or nobody is left who could.
 * - A device out of reach holds no place: the next of the cohort takes it (`replace`), so that a wave of one is proven by one
 *   device that confirmed. Where no device is left to take it, the wave goes on without, and the count says never started.
 */

export interface WaveTally {
  /** Devices that this wave added, without those of earlier waves. */
  readonly added: number;
  readonly offered: number;
  readonly attempted: number;
  readonly confirmed: number;
  /** Attempted, failed, and not looked at by a person who resumed. */
  readonly failed: number;
  readonly forgiven: number;
  /** May still settle by itself: an action under way, or a device that may still poll in time. */
  readonly pending: number;
  /** Out of reach, superseded or called off: neither success nor failure. */
  readonly empty: number;
  /** Of `empty`: places that no other device has taken yet. */
  readonly free: number;
  /** When the last device of the wave settled; null while none has. */
  readonly lastSettledUnixMs: number | null;
  /** A few of the failures, for the reason. */
  readonly failures: readonly { readonly deviceId: string; readonly state: string; readonly detail: string }[];
}

/** Of a wave in which nothing has happened. */
export const EMPTY_TALLY: WaveTally = {
  added: 0,
  offered: 0,
  attempted: 0,
  confirmed: 0,
  failed: 0,
  forgiven: 0,
  pending: 0,
  empty: 0,
  free: 0,
  lastSettledUnixMs: null,
  failures: [],
};

export interface GatePolicy {
  readonly maxFailedPercent: number;
  readonly minSample: number;
}

export type GateDecision =
  | { readonly decision: 'wait'; readonly reason: string }
  /** The next `places` devices of the cohort take the places of those that cannot be reached. */
  | { readonly decision: 'replace'; readonly places: number; readonly reason: string }
  | { readonly decision: 'pass'; readonly reason: string }
  | { readonly decision: 'halt'; readonly reason: string };

const STATE_WORDS: Readonly<Record<string, string>> = {
  'rolled-back': 'rolled back',
  refused: 'refused it',
  'install-failed': 'could not install it in time',
  silent: 'was silent after its reboot',
  failed: 'failed',
  'deadline-passed': 'did not finish in time',
};

export function devicesInWords(count: number): string {
  return count === 1 ? '1 device' : `${count} devices`;
}

/** Too many failures? The reason if so. Asked of every wave that was ever opened, also after it passed. */
export function decideHalt(wave: WaveTally, policy: GatePolicy, name: string): string | undefined {
  if (wave.failed === 0) return undefined;
  const counted = wave.attempted - wave.forgiven;
  const nobodyLeft = wave.attempted + wave.empty >= wave.added;
  if (counted < policy.minSample && !nobodyLeft) return undefined;
  const failedPercent = (wave.failed * 100) / counted;
  if (failedPercent <= policy.maxFailedPercent) return undefined;
  const share = `${wave.failed} of ${devicesInWords(counted)} that attempted it failed in ${name}`;
  const limit = `${Math.round(failedPercent)} %, more than the ${policy.maxFailedPercent} % allowed`;
  return `${share} (${limit}): ${failuresInWords(wave)}`;
}

function failuresInWords(wave: WaveTally): string {
  const named = wave.failures.map(({ deviceId, state, detail }) => {
    const words = `${deviceId} ${STATE_WORDS[state] ?? state}`;
    return detail === '' ? words : `${words} (${detail})`;
  });
  const more = wave.failed - wave.failures.length;
  return more > 0 ? `${named.join('; ')}; and ${more} more` : named.join('; ');
}

/** The decision for the wave that is open. `waitingBehind`: devices in later waves that could take a free place. */
export function decideGate(
  wave: WaveTally,
  policy: GatePolicy,
  soakMs: number,
  waitingBehind: number,
  name: string,
  nowUnixMs: number,
): GateDecision {
  const halt = decideHalt(wave, policy, name);
  if (halt !== undefined) return { decision: 'halt', reason: halt };
  if (wave.added === 0) return { decision: 'pass', reason: `${name} adds no device` };
  if (wave.free > 0 && waitingBehind > 0) {
    const reason = `${devicesInWords(wave.free)} of ${name} cannot be reached; the next in order take the places`;
    return { decision: 'replace', places: Math.min(wave.free, waitingBehind), reason };
  }
  const added = `${devicesInWords(wave.added)} that ${name} added`;
  const settled = `${wave.confirmed} of ${added} confirmed, ${wave.failed + wave.forgiven} failed`;
  if (wave.pending > 0) return { decision: 'wait', reason: `${settled}; waiting for ${wave.pending}` };
  const soakedUnixMs = (wave.lastSettledUnixMs ?? 0) + soakMs;
  if (nowUnixMs < soakedUnixMs) {
    return { decision: 'wait', reason: `${settled}; soaking until ${new Date(soakedUnixMs).toISOString()}` };
  }
  return { decision: 'pass', reason: `${settled}, ${wave.empty} never started` };
}
