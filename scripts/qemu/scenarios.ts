/** What the lab shows, one device and one release at a time. The names are those of `--scenario`. */
import { BOOT, partitionOf } from '../device-image/layout.ts';
import { phaseNamed } from './cut-phases.ts';
import { BOOT_LIMIT_MS, type Guest } from './guest.ts';
import { isSigned, type Scenario, type ScenarioLab } from './scenario.ts';
import { StolenRelease } from './stolen-release.ts';
import { FACTORY_RELEASE, imageOf, type ReleaseFault } from './world.ts';

/** U-Boot's attempts of one trial. */
export const ATTEMPTS = 3;
/** Three boots, each ended by the userspace's trial watchdog: ten minutes at most. */
export const FALL_BACK_LIMIT_MS = 1_800_000;
export const DOWNLOAD_LIMIT_MS = 900_000;
/** Inside the kernel. */
const ALTERED_AT_BYTES = 8 * 1024 * 1024;
const SERVER_AWAY_MS = 20_000;
/** The agent's log. */
const REFUSED = /"event":"refused"/;
const NO_ROOM = /no-space|ENOSPC|no room|disk-full/;
export const ON_TRIAL = /^holdfast: slot (\w) on trial, (\d) attempts left/;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const good: Scenario = {
  name: 'good',
  title: 'A good release is installed, tried and confirmed',
  short: true,
  async run(lab) {
    const guest = await lab.enrolled();
    const release = await lab.publish('');
    await lab.world.rollOut(release, [guest.id]);
    const trial = await guest.boots(DOWNLOAD_LIMIT_MS);
    lab.check(trial.slot === 'b' && trial.trial, `U-Boot boots slot ${trial.slot} on trial, ${trial.version}`);
    await guest.settlesOn(release.version);
    lab.check(true, `the server hears that it confirmed ${release.version}`);
    await lab.checkWatchdogHeld(guest);
    await lab.checkUnits(guest);
    await lab.checkSlot(guest, 'b', release.version);
    await lab.checkSlot(guest, 'a', FACTORY_RELEASE.version);
    await guest.cutPower();
    await guest.powerOn();
    const again = await guest.boots();
    lab.check(again.slot === 'b' && !again.trial, `after a power cut it boots slot ${again.slot}, no longer on trial`);
  },
};

/** A release that fails in some way: every attempt is used up by the bootloader, or the agent gives it back at once. */
function fallsBack(name: string, title: string, fault: ReleaseFault, attempts: number, short: boolean): Scenario {
  return {
    name,
    title,
    short,
    async run(lab) {
      const guest = await lab.enrolled();
      const release = await lab.publish(fault);
      await lab.world.rollOut(release, [guest.id]);
      for (let attempt = 1; attempt <= attempts; attempt += 1) {
        await hearsTrial(lab, guest, attempt);
        const boot = await guest.boots();
        lab.check(
          boot.version === release.version && boot.trial,
          `attempt ${attempt}: ${boot.version} comes up, on trial`,
        );
      }
      await fellBack(lab, guest);
    },
  };
}

/** The bootloader's next attempt is this one of the trial of slot b. */
export async function hearsTrial(lab: ScenarioLab, guest: Guest, attempt: number): Promise<void> {
  const limitMs = attempt === 1 ? DOWNLOAD_LIMIT_MS : FALL_BACK_LIMIT_MS;
  const [, slot = '', left = ''] = await guest.hears(ON_TRIAL, limitMs);
  lab.check(
    slot === 'b' && Number(left) === ATTEMPTS - attempt,
    `attempt ${attempt}: U-Boot tries slot ${slot}, ${left} left`,
  );
}

async function fellBack(lab: ScenarioLab, guest: Guest): Promise<void> {
  await guest.hears(/^holdfast: slot a$/, FALL_BACK_LIMIT_MS);
  const boot = await guest.boots();
  lab.check(
    boot.slot === 'a' && !boot.trial && boot.version === FACTORY_RELEASE.version,
    `U-Boot goes back to slot ${boot.slot}, ${boot.version}`,
  );
  await guest.settlesOn(FACTORY_RELEASE.version);
  await lab.waitForReason(guest, 'rolled-back');
  await lab.checkSlot(guest, 'a', FACTORY_RELEASE.version);
}

const serverGone: Scenario = {
  name: 'server-gone',
  title: 'The server goes away in the middle of a download, and comes back',
  short: false,
  async run(lab) {
    const guest = await lab.enrolled();
    const release = await lab.publish('');
    await lab.world.rollOut(release, [guest.id]);
    await guest.hears(/checking → downloading/, DOWNLOAD_LIMIT_MS);
    await lab.world.stopServer();
    guest.note('the server is stopped');
    await pause(SERVER_AWAY_MS);
    await lab.world.startServer();
    guest.note('the server is started again');
    await guest.settlesOn(release.version, DOWNLOAD_LIMIT_MS);
    lab.check(true, `installed and confirmed ${release.version} all the same`);
    await lab.checkSlot(guest, 'b', release.version);
  },
};

const repeated: Scenario = {
  name: 'repeated',
  title: 'Three updates in a row: b, a, b',
  short: false,
  async run(lab) {
    const guest = await lab.enrolled();
    for (const slot of ['b', 'a', 'b']) {
      const release = await lab.publish('');
      await lab.world.rollOut(release, [guest.id]);
      const boot = await guest.boots(DOWNLOAD_LIMIT_MS);
      lab.check(boot.slot === slot && boot.trial, `${boot.version} on trial in slot ${boot.slot}`);
      await guest.settlesOn(release.version);
      await lab.checkSlot(guest, slot, release.version);
    }
  },
};

const quickCuts: Scenario = {
  name: 'quick-cuts',
  title: 'Three power cuts before userspace use a trial up, and nothing else',
  short: false,
  async run(lab) {
    const guest = await lab.enrolled();
    const release = await lab.publish('');
    await lab.world.rollOut(release, [guest.id]);
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      const [, slot = '', left = ''] = await guest.hears(ON_TRIAL, DOWNLOAD_LIMIT_MS);
      lab.check(slot === 'b' && Number(left) === ATTEMPTS - attempt, `attempt ${attempt}: slot ${slot}, ${left} left`);
      await guest.hears(/^Starting kernel/, DOWNLOAD_LIMIT_MS);
      await guest.cutPower();
      await guest.powerOn();
    }
    await fellBack(lab, guest);
  },
};

const altered: Scenario = {
  name: 'altered',
  title: 'A card that gives back other bytes than were written is noticed before the trial',
  short: false,
  async run(lab) {
    const guest = await lab.enrolled();
    const release = await lab.publish('');
    await lab.world.rollOut(release, [guest.id]);
    // The boot image comes first: by then all of it is written.
    await guest.hears(/rootfs: /, DOWNLOAD_LIMIT_MS);
    const { startBytes } = partitionOf(BOOT.b);
    await guest.machine.alterDisk(startBytes + ALTERED_AT_BYTES, 4096);
    guest.note('4096 bytes of slot b are changed behind its back');
    await guest.settlesOn(release.version, DOWNLOAD_LIMIT_MS);
    await lab.checkSlot(guest, 'b', release.version);
  },
};

const stolenKey: Scenario = {
  name: 'stolen-key',
  title: "Whoever has the server and one person's key gets no code onto a device",
  short: false,
  async run(lab) {
    const guest = await lab.enrolled();
    const release = await lab.publish('');
    const thief = await StolenRelease.make(lab.world, release);
    await lab.world.stopServer();
    await thief.serve();
    guest.note('a stolen server answers, with a release that one of two people signed');
    await guest.hears(REFUSED, DOWNLOAD_LIMIT_MS);
    await thief.stop();
    lab.check(thief.heard > 0, `the stolen server heard from the device ${thief.heard} times`);
    await lab.world.startServer();
    // No rollout of the real server names it, so that it is no reason: but it was told.
    await lab.waitForReport(guest, /^refused .*metadata-threshold-not-met/);
    await lab.checkSlot(guest, 'a', FACTORY_RELEASE.version);
    const found = await lab.versionIn(guest.disk, 'b');
    lab.check(found === undefined, 'slot b was not written');
    // The thief had the online keys: timestamps older than his are refused, and each publication makes a newer one.
    const next = await lab.publish('');
    await lab.world.rollOut(next, [guest.id]);
    await guest.settlesOn(next.version, DOWNLOAD_LIMIT_MS);
    lab.check(true, `${next.version}, signed by two and published since: installed and confirmed`);
  },
};

const corrupt: Scenario = {
  name: 'corrupt',
  title: 'An image that was altered on the server is refused',
  short: false,
  async run(lab) {
    const guest = await lab.enrolled();
    const release = await lab.publish('');
    await lab.world.stopServer();
    await lab.world.alterArtifact(imageOf(release.images, 'rootfs'));
    await lab.world.startServer();
    await lab.world.rollOut(release, [guest.id]);
    await guest.hears(REFUSED, DOWNLOAD_LIMIT_MS);
    await lab.waitForReason(guest, 'release-refused', 'block-digest-mismatch');
    await lab.checkSlot(guest, 'a', FACTORY_RELEASE.version);
  },
};

const clock: Scenario = {
  name: 'clock',
  title: 'A clock that says 1970, and one that says 2038, keep no good release away',
  short: false,
  async run(lab) {
    const guest = await lab.enrolled();
    for (const [year, slot] of [
      ['1970', 'b'],
      ['2038', 'a'],
    ] as const) {
      await guest.cutPower();
      await guest.powerOn({ clock: `${year}-01-19T03:00:00` });
      await guest.boots();
      const release = await lab.publish('');
      await lab.world.rollOut(release, [guest.id]);
      await guest.settlesOn(release.version, DOWNLOAD_LIMIT_MS);
      lab.check(true, `in ${year} it installed and confirmed ${release.version}`);
      await lab.checkSlot(guest, slot, release.version);
    }
  },
};

const stick: Scenario = {
  name: 'stick',
  onlyOn: 'small',
  title: 'A release on a USB stick, installed without a network',
  short: false,
  async run(lab) {
    const guest = await lab.enrolled();
    const release = await lab.publish('');
    const image = await lab.world.exportToStick(release);
    await guest.cutPower();
    await guest.powerOn({ stick: image, offline: true });
    await guest.hears(/^lab: a stick is plugged in/, BOOT_LIMIT_MS);
    const boot = await guest.boots(DOWNLOAD_LIMIT_MS);
    lab.check(
      boot.slot === 'b' && boot.trial && boot.version === release.version,
      `without a network: ${boot.version} on trial in slot ${boot.slot}`,
    );
    await guest.hears(/sealing → idle/, DOWNLOAD_LIMIT_MS);
    lab.check(true, 'its checks passed, and it confirmed');
    await lab.checkSlot(guest, 'b', release.version);
    await guest.cutPower();
    await guest.powerOn();
    await guest.settlesOn(release.version, DOWNLOAD_LIMIT_MS);
    lab.check(true, 'back on the network, the server hears of it');
  },
};

const fullDisk: Scenario = {
  name: 'full-disk',
  title: 'A data partition without room: the device goes on running, says so, and updates when it has room again',
  short: false,
  onlyOn: 'small',
  async run(lab) {
    const guest = await lab.newGuest({ fills: true });
    await guest.powerOn();
    await guest.settlesOn(FACTORY_RELEASE.version);
    await guest.cutPower();
    await guest.powerOn();
    const [left = ''] = await guest.hears(/^lab: the data partition is full.*/, BOOT_LIMIT_MS);
    lab.check(true, left);
    const release = await lab.publish('');
    await lab.world.rollOut(release, [guest.id]);
    await guest.hears(NO_ROOM, DOWNLOAD_LIMIT_MS);
    lab.check(true, 'the agent says that there is no room');
    await lab.checkSlot(guest, 'a', FACTORY_RELEASE.version);
    await guest.cutPower();
    await guest.powerOn();
    const boot = await guest.boots();
    lab.check(boot.slot === 'a' && !boot.trial, `after a power cut it boots slot ${boot.slot} again`);
    await guest.settlesOn(release.version, DOWNLOAD_LIMIT_MS);
    lab.check(true, `with room: installed and confirmed ${release.version}`);
  },
};

/** Where the interrupted device of the fleet loses its power, and how long after at most. */
const FLEET_CUTS = [
  { phase: phaseNamed('write'), withinMs: 5000 },
  { phase: phaseNamed('arm'), withinMs: 500 },
  { phase: phaseNamed('trial'), withinMs: 2000 },
];

const fleet: Scenario = {
  name: 'fleet',
  title: 'Three devices in one rollout: one confirms, one loses its power three times, one has a broken sensor',
  short: false,
  async run(lab) {
    const guests = [await lab.newGuest(), await lab.newGuest(), await lab.newGuest({ brokenSensor: true })];
    for (const guest of guests) await guest.powerOn();
    for (const guest of guests) await guest.settlesOn(FACTORY_RELEASE.version);
    lab.check(true, `${guests.length} devices enrolled and are idle`);
    const [sound, interrupted, broken] = guests;
    if (sound === undefined || interrupted === undefined || broken === undefined) throw new Error('three devices');
    const release = await lab.publish('checked');
    const ids = guests.map(({ id }) => id);
    const rolloutId = await lab.world.rollOut(release, ids, 50);
    for (const { phase, withinMs } of FLEET_CUTS) {
      await interrupted.hears(phase.begins, DOWNLOAD_LIMIT_MS);
      await pause(lab.random() * withinMs);
      await interrupted.cutPower();
      await interrupted.powerOn();
      const boot = await lab.bootsSigned(interrupted);
      lab.check(isSigned(boot), `power cut in ${phase.name}: boots ${boot.version} from slot ${boot.slot}`);
    }
    for (const guest of [sound, interrupted]) {
      await guest.settlesOn(release.version, DOWNLOAD_LIMIT_MS);
      lab.check(true, `${guest.id} confirmed ${release.version}`);
      await lab.checkSlot(guest, 'b', release.version);
    }
    await lab.waitForReason(broken, 'rolled-back', 'the sensor does not answer');
    await lab.checkSlot(broken, 'a', FACTORY_RELEASE.version);
    const rollout = await lab.world.words.rollout(rolloutId);
    lab.check(
      rollout.confirmed === 2 && rollout.failed === 1,
      `the server counts ${rollout.confirmed} confirmed, ${rollout.failed} failed: ${rollout.state}, ${rollout.reason}`,
    );
  },
};

export const SCENARIOS: readonly Scenario[] = [
  good,
  fallsBack('panic', 'A release whose kernel panics is given up by the bootloader', 'panic', ATTEMPTS, true),
  fallsBack('no-confirm', 'A release whose userspace never confirms is given up', 'mute', ATTEMPTS, true),
  fallsBack('health', 'A release whose health check fails is given back by the agent', 'unhealthy', 1, true),
  fallsBack('hang', 'A release that hangs is reset by the watchdog', 'hang', ATTEMPTS, false),
  fallsBack(
    'agent-crash',
    'An agent that crashes at its start is given up, without network or visit',
    'agent-crash',
    ATTEMPTS,
    false,
  ),
  serverGone,
  corrupt,
  altered,
  stolenKey,
  clock,
  stick,
  repeated,
  quickCuts,
  fullDisk,
  fleet,
];
