/**
 * Power cuts in an update of a maker's image. Its agent's log need not be on the console, so the phases are those that
 * everybody sees: until U-Boot starts the trial, and from then until the server hears that it was confirmed.
 */
import { errorText } from '../../../platform/fault.ts';
import type { Cut, CutOptions } from '../cuts.ts';
import type { Guest } from '../guest.ts';
import type { ScenarioLab } from '../scenario.ts';
import { DOWNLOAD_LIMIT_MS, ON_TRIAL } from '../scenarios.ts';

const PHASES = ['install', 'trial'] as const;
type Phase = (typeof PHASES)[number];

export async function cutOwnPowerOften(
  lab: ScenarioLab,
  { count, seed, settleEvery }: CutOptions,
  onCut: (cut: Cut) => void,
): Promise<readonly Cut[]> {
  const guest = await lab.enrolled();
  const release = await lab.offerFromHere(guest);
  const lengthsMs = await record(lab, guest, release.version);
  const cuts: Cut[] = [];
  for (let number = 1; number <= count; number += 1) {
    const phase = PHASES[(number - 1) % PHASES.length] ?? 'install';
    // Cuts of one phase share it: one in each part, at a moment that the seed chooses.
    const parts = Math.ceil(count / PHASES.length);
    const share = (Math.floor((number - 1) / PHASES.length) + lab.random()) / parts;
    const afterMs = Math.round(share * lengthsMs[phase]);
    const name = `cut ${number} of seed ${seed}, ${Math.round(share * 100)} % into ${phase}`;
    try {
      await lab.world.rewindServer();
      await guest.powerOn({ from: phase });
      await new Promise((resolve) => setTimeout(resolve, afterMs));
      await guest.cutPower();
      await guest.powerOn();
      const cut = { number, phase, afterMs, ...(await lab.bootsSigned(guest)) };
      if (number % settleEvery === 0) await guest.settlesOn(release.version);
      cuts.push(cut);
      onCut(cut);
      lab.checkSigned(cut, name);
    } catch (error) {
      throw new Error(`${name}: ${errorText(error)}`);
    } finally {
      await guest.cutPower();
    }
  }
  lab.checkAllSigned(cuts, 'cuts');
  const old = cuts.filter(({ version }) => version === lab.world.factory.version).length;
  lab.check(true, `${old} booted the old release, ${cuts.length - old} the new one`);
  return cuts;
}

/** The update without a cut: a state at the beginning of each phase, and how long each takes. */
async function record(lab: ScenarioLab, guest: Guest, version: string): Promise<Record<Phase, number>> {
  await guest.machine.save('install');
  const begunMs = performance.now();
  await guest.hears(ON_TRIAL, DOWNLOAD_LIMIT_MS);
  const install = performance.now() - begunMs;
  await guest.machine.save('trial');
  const triedMs = performance.now();
  await guest.settlesOn(version);
  const trial = performance.now() - triedMs;
  await guest.cutPower();
  const inSeconds = (ms: number): string => (ms / 1000).toFixed(1);
  lab.check(
    true,
    `an update without a cut takes ${inSeconds(install)} s to the trial, ${inSeconds(trial)} s from there`,
  );
  return { install, trial };
}
