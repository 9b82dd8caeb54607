/** What a verified boot shows. The names are those of `--scenario`. */
import { BOOT, partitionOf, ROOT } from '../device-image/layout.ts';
import { makeBootloaderKey, signFit } from '../device-image/signed-fit.ts';
import { makeFitBootImage } from '../device-image/verified-boot.ts';
import { needProgram } from '../programs.ts';
import { BOOT_LIMIT_MS, type Guest } from './guest.ts';
import type { Scenario, ScenarioLab } from './scenario.ts';
import { FACTORY_RELEASE, imageOf, type PublishedRelease } from './world.ts';

const UPDATE_LIMIT_MS = 900_000;
/** Inside the root file system, where Node lies. */
const FLIPPED_AT_BYTES = 24 * 1024 * 1024;
const BLOCK_BYTES = 4096;
/** So much of Node is read whenever an agent starts that this range is. */
const READ_AT_START_BYTES = 16 * 1024 * 1024;
/** Inside the kernel in the FIT. */
const ALTERED_AT_BYTES = 8 * 1024 * 1024;
const CORRUPTED = /device-mapper: verity: .* block \d+ is corrupted/;
const WHOLE = /^lab: verity: slot b holds what was signed/;
const LEFT = /^lab: verity: slot b is damaged, and no longer in the boot order/;

/** A device that has confirmed a release in slot b, and has the factory's in slot a. */
async function updated(lab: ScenarioLab): Promise<{ guest: Guest; release: PublishedRelease }> {
  const guest = await lab.enrolled();
  const release = await lab.publish('');
  await lab.world.rollOut(release, [guest.id]);
  const boot = await guest.boots(UPDATE_LIMIT_MS);
  lab.check(boot.slot === 'b' && boot.trial, `${boot.version} on trial in slot ${boot.slot}, verified`);
  await guest.settlesOn(release.version);
  lab.check(true, `confirmed ${release.version}`);
  await lab.checkSlot(guest, 'b', release.version);
  return { guest, release };
}

/** The damage is said, slot b is left for good, and slot a comes up. */
async function leavesSlotB(lab: ScenarioLab, guest: Guest): Promise<void> {
  const [said] = await guest.hears(CORRUPTED, BOOT_LIMIT_MS);
  lab.check(true, `the kernel refuses to read it: ${said}`);
  await guest.hears(LEFT, BOOT_LIMIT_MS);
  const boot = await guest.boots();
  lab.check(
    boot.slot === 'a' && !boot.trial && boot.version === FACTORY_RELEASE.version,
    `slot b left the boot order, and slot ${boot.slot} comes up, ${boot.version}`,
  );
}

const flip: Scenario = {
  name: 'verity-flip',
  title:
    'A block of the running slot is changed on the disk: the next boot refuses it, and comes up from the other slot',
  short: false,
  verified: true,
  async run(lab) {
    const { guest, release } = await updated(lab);
    await guest.machine.alterDisk(partitionOf(ROOT.b).startBytes + FLIPPED_AT_BYTES, BLOCK_BYTES);
    guest.note('one block of the running root file system is changed behind its back');
    const found = await lab.versionIn(guest.disk, 'b');
    lab.check(found === undefined, 'slot b no longer holds what was signed');
    await guest.cutPower();
    await guest.powerOn();
    await leavesSlotB(lab, guest);
    await guest.settlesOn(FACTORY_RELEASE.version);
    lab.check(true, `the server hears that it is back on ${FACTORY_RELEASE.version}, and not on ${release.version}`);
    await lab.checkSlot(guest, 'a', FACTORY_RELEASE.version);
  },
};

const running: Scenario = {
  name: 'verity-running',
  title: 'Blocks that change after they were found whole reset the device when they are read',
  short: false,
  // It knows where Node lies in that root file system.
  onlyOn: 'small',
  verified: true,
  async run(lab) {
    const { guest } = await updated(lab);
    await guest.cutPower();
    await guest.powerOn();
    await guest.hears(WHOLE, BOOT_LIMIT_MS);
    await guest.machine.alterDisk(partitionOf(ROOT.b).startBytes + FLIPPED_AT_BYTES, READ_AT_START_BYTES);
    guest.note('the root file system is changed after it was read through');
    const [said] = await guest.hears(CORRUPTED, BOOT_LIMIT_MS);
    lab.check(true, `a reader meets it: ${said}`);
    await guest.hears(/^U-Boot 20/, BOOT_LIMIT_MS);
    lab.check(true, 'the kernel resets the device');
    await leavesSlotB(lab, guest);
  },
};

/** Boot images that U-Boot must refuse, by what is wrong with them. */
async function refusable(lab: ScenarioLab, { images }: PublishedRelease): Promise<Map<string, string>> {
  const { world } = lab;
  const work = (name: string): string => world.path('images', `refused-${name}`);
  await makeBootloaderKey(work('key'));
  await signFit({ ...world.fitFiles, outFile: work('foreign.itb'), keyFolder: work('key') });
  await signFit({ ...world.fitFiles, outFile: work('unsigned.itb') });
  for (const name of ['foreign', 'unsigned']) await makeFitBootImage(work(`${name}.boot`), work(`${name}.itb`));
  await needProgram('cp', ['--', imageOf(images, 'boot'), work('altered.boot')]);
  await needProgram('qemu-io', ['-f', 'raw', '-c', `write -P 0xa5 ${ALTERED_AT_BYTES} 16`, work('altered.boot')]);
  return new Map([
    ["signed with another maker's key", work('foreign.boot')],
    ['not signed', work('unsigned.boot')],
    ['the signed one, with 16 bytes of its kernel changed', work('altered.boot')],
  ]);
}

const foreign: Scenario = {
  name: 'verity-foreign',
  title: 'U-Boot refuses a FIT that is unsigned, altered or signed with another key, and boots the other slot',
  short: false,
  verified: true,
  async run(lab) {
    const { guest, release } = await updated(lab);
    for (const [what, image] of await refusable(lab, release)) {
      await guest.cutPower();
      const { startBytes } = partitionOf(BOOT.b);
      await needProgram('qemu-io', ['-f', 'qcow2', '-c', `write -s ${image} ${startBytes} 48M`, guest.disk]);
      guest.note(`slot b gets a FIT: ${what}`);
      // Without a network: the agent would mend slot b.
      await guest.powerOn({ offline: true });
      const [said] = await guest.hears(
        /^Failed to verify required signature.*|^Bad hash in FIT image.*|^.*Bad Data Hash/,
        BOOT_LIMIT_MS,
      );
      const boot = await guest.boots();
      lab.check(
        boot.slot === 'a' && !boot.trial && boot.version === FACTORY_RELEASE.version,
        `a FIT in slot b, ${what}: U-Boot says "${said}" and boots slot ${boot.slot}, ${boot.version}`,
      );
    }
  },
};

export const VERITY_SCENARIOS: readonly Scenario[] = [flip, running, foreign];
