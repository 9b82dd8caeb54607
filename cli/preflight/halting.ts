/**
 * How many devices can fail before a rollout halts, wave by wave: asked of the very functions by which the server cuts
 * waves and halts, with made-up counts.
 */
import type { Wave } from '../../protocol/operator-api.ts';
import { waveSize } from '../../update-server/core/cohort.ts';
import { decideHalt, EMPTY_TALLY, type GatePolicy } from '../../update-server/core/gate.ts';

export interface WaveRisk {
  readonly wave: Wave;
  /** Devices that this wave adds. */
  readonly added: number;
  /** The most of them that can fail while the others confirm, and the next wave opens all the same. */
  readonly passesWithFailed: number;
  /** One failure more, and the rollout halts, whatever the others did; null when not even all failures halt it. */
  readonly haltsAtFailed: number | null;
  /** The fewest failures that halt it: when those that fail are the first to attempt it. */
  readonly haltsAtFirstFailed: number | null;
  /**
   * Failed devices in all when this wave halts the rollout, at worst: those that the waves before it bear, and every
   * device of this one, since all of a wave may be at it at once and a halt does not reach a device that reboots already.
   */
  readonly failedAtMost: number;
}

export interface HaltingRisk {
  readonly waves: readonly WaveRisk[];
  /** Devices in all waves together. */
  readonly devices: number;
  /** The largest of the waves' `failedAtMost`. */
  readonly failedAtMost: number;
  /** A release that fails on every device: how many have it when the rollout halts; null when it never does. */
  readonly everyDeviceFails: number | null;
}

/** `devices`: the size of the cohort. */
export function haltingRisk(waves: readonly Wave[], devices: number, policy: GatePolicy): HaltingRisk {
  const risks: WaveRisk[] = [];
  let before = 0;
  let borne = 0;
  for (const wave of waves) {
    const added = Math.max(0, waveSize(wave, devices) - before);
    before += added;
    const halts = (attempted: number, failed: number): boolean =>
      decideHalt({ ...EMPTY_TALLY, added, offered: added, attempted, failed }, policy, '') !== undefined;
    const haltsAtFailed = firstThat(added, (failed) => halts(added, failed));
    const passesWithFailed = haltsAtFailed === null ? added : haltsAtFailed - 1;
    risks.push({
      wave,
      added,
      passesWithFailed,
      haltsAtFailed,
      haltsAtFirstFailed: firstThat(added, (failed) => halts(failed, failed)),
      failedAtMost: borne + added,
    });
    borne += passesWithFailed;
  }
  const firstToHalt = risks.findIndex(({ haltsAtFailed }) => haltsAtFailed !== null);
  return {
    waves: risks,
    devices: before,
    failedAtMost: Math.max(0, ...risks.map(({ failedAtMost }) => failedAtMost)),
    everyDeviceFails:
      firstToHalt < 0 ? null : risks.slice(0, firstToHalt + 1).reduce((sum, { added }) => sum + added, 0),
  };
}

/** The smallest of 1 to `most` that holds, where all larger ones do too; null when none does. */
function firstThat(most: number, holds: (count: number) => boolean): number | null {
  if (most < 1 || !holds(most)) return null;
  let below = 0;
  let known = most;
  while (known - below > 1) {
    const middle = Math.floor((below + known) / 2);
    if (holds(middle)) known = middle;
    else below = middle;
  }
  return known;
}
