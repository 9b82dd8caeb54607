/**
 * Power cuts at moments that a seed chooses, spread over a whole update: from one saved state, each time let the device
 * go on, end the emulator in the middle, and switch it on again. Whatever it was doing, it boots, and what it boots was
 * signed.
 */
import { seededRandom } from '../seeded-random.ts';
import type { Guest } from './guest.ts';
import type { JudgedBoot, ScenarioLab } from './scenario.ts';

export interface CutOptions {
  readonly count: number;
  readonly seed: number;
  /** Every so many cuts the device is watched until it has the release. */
  readonly settleEvery: number;
}

export interface Cut extends JudgedBoot {
  readonly number: number;
  /** After the device went on from the saved state. */
  readonly atMs: number;
  /** The last thing that its agent or bootloader had said. */
  readonly during: string;
}

const SAVED = 'ready';

export async function cutPowerOften(
  lab: ScenarioLab,
  options: CutOptions,
  onCut: (cut: Cut) => void,
): Promise<readonly Cut[]> {
  const guest = await lab.enrolled();
  const release = await lab.publish('');
  await lab.world.rollOut(release, [guest.id]);
  await guest.machine.save(SAVED);
  const lastMs = await measure(lab, guest, release.version);
  const random = seededRandom(options.seed);
  const cuts: Cut[] = [];
  for (let number = 1; number <= options.count; number += 1) {
    // One in each of `count` equal parts of the update, so that few cuts cover all of it too.
    const atMs = Math.round(((number - 1 + random()) / options.count) * lastMs);
    await guest.powerOn({ from: SAVED });
    await new Promise((resolve) => setTimeout(resolve, atMs));
    const during = lastWords(guest.machine.serial.tail(40));
    await guest.cutPower();
    await guest.powerOn();
    const boot = await lab.bootsSigned(guest);
    if (number % options.settleEvery === 0) await guest.settlesOn(release.version);
    await guest.cutPower();
    const cut = { number, atMs, during, ...boot };
    cuts.push(cut);
    onCut(cut);
    lab.checkSigned(cut, `cut ${number} at ${atMs} ms`);
  }
  lab.checkAllSigned(cuts, 'cuts');
  const before = lab.world.factory.version;
  const again = cuts.filter(({ version }) => version === before).length;
  lab.check(true, `${again} booted ${before} again, ${cuts.length - again} booted ${release.version}`);
  return cuts;
}

/** One update without a cut: how long it takes from the saved state until the release is confirmed. */
async function measure(lab: ScenarioLab, guest: Guest, version: string): Promise<number> {
  const startedMs = performance.now();
  await guest.settlesOn(version);
  const tookMs = performance.now() - startedMs;
  lab.check(true, `an update without a cut takes ${Math.round(tookMs / 1000)} s here`);
  await guest.cutPower();
  return tookMs;
}

function lastWords(lines: readonly string[]): string {
  return lines.findLast((line) => /^(lab: |holdfast: |\{|.*"msg")/.test(line))?.slice(0, 120) ?? '';
}
