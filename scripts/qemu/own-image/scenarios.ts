/** What a maker's own image is taken through, besides power cuts. Names are those of the lab's own scenarios. */
import type { Scenario, ScenarioLab } from '../scenario.ts';
import { ATTEMPTS, DOWNLOAD_LIMIT_MS, FALL_BACK_LIMIT_MS, hearsTrial, ON_TRIAL } from '../scenarios.ts';
import type { ReleaseFault } from '../world.ts';

/** Says what of the image the lab replaced, and that nothing else differs. */
export function tellReplaced(lab: ScenarioLab): void {
  const { own } = lab.world;
  if (own === undefined) throw new Error('no image of a maker');
  const { paths, configFields, compared } = own.replaced;
  lab.check(true, `a copy of ${own.file}; the file itself is not written`);
  lab.check(paths.length > 0, `replaced in slot a: ${paths.join(', ')}`);
  lab.check(true, `of agent.json only ${configFields.join(', ')}; a claim is put onto the data partition`);
  lab.check(true, `every other entry of ${compared} is as it was: kind, owner, mode and content`);
}

const good: Scenario = {
  name: 'good',
  title: 'Your image with one file more is installed, tried and confirmed',
  short: true,
  async run(lab) {
    const guest = await lab.enrolled();
    const release = await lab.publish('');
    await lab.world.rollOut(release, [guest.id]);
    const [, slot = ''] = await guest.hears(ON_TRIAL, DOWNLOAD_LIMIT_MS);
    lab.check(slot === 'b', `U-Boot boots slot ${slot} on trial`);
    await guest.settlesOn(release.version);
    lab.check(true, `the server hears that it confirmed ${release.version}`);
    await lab.checkSlot(guest, 'b', release.version);
    await lab.checkSlot(guest, 'a', lab.world.factory.version);
    await guest.cutPower();
    await guest.powerOn();
    const again = await lab.bootsSigned(guest);
    lab.check(again.slot === 'b' && !again.trial, `after a power cut it boots slot ${again.slot}, no longer on trial`);
  },
};

function givenUp(name: string, title: string, fault: ReleaseFault): Scenario {
  return {
    name,
    title,
    short: true,
    async run(lab) {
      const guest = await lab.enrolled();
      const release = await lab.publish(fault);
      await lab.world.rollOut(release, [guest.id]);
      for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
        await hearsTrial(lab, guest, attempt);
      }
      const boot = await lab.bootsSigned(guest, guest.disk, FALL_BACK_LIMIT_MS);
      const { version } = lab.world.factory;
      lab.check(
        boot.slot === 'a' && !boot.trial && boot.version === version,
        `U-Boot goes back to slot ${boot.slot}, ${boot.version}`,
      );
      await guest.settlesOn(version);
      await lab.waitForReason(guest, 'rolled-back');
      await lab.checkSlot(guest, 'a', version);
    },
  };
}

export const OWN_IMAGE_SCENARIOS: readonly Scenario[] = [
  good,
  givenUp(
    'panic',
    'Your image with an init that ends at once: the kernel panics, and the bootloader gives it up',
    'panic',
  ),
  givenUp('agent-crash', 'Your image with an agent that cannot start: never confirmed, and given up', 'agent-crash'),
];
