/**
 * A release whose first boot cannot succeed, because a maker's provider in it always fails: a trial of it goes back, and
 * a device that left its factory with it stays closed until a repair comes. The server's gate is enforced all the while.
 */
import * as v from 'valibot';
import { DeviceView } from '../../../protocol/operator-api.ts';
import { askUntil } from '../../demo/patience.ts';
import type { Guest } from '../guest.ts';
import type { Scenario, ScenarioLab } from '../scenario.ts';
import { FALL_BACK_LIMIT_MS, hearsTrial } from '../scenarios.ts';
import { FACTORY_RELEASE, type PublishedRelease, type ReleaseFault } from '../world.ts';
import { factoryVariant } from './factory-image.ts';
import {
  acceptedIn,
  answersBetween,
  checkServerCard,
  counted,
  hearsAccepted,
  type Knocked,
  knocks,
  NEVER,
  nothingIn,
  OPENS,
  OPENS_AFTER_MS,
  recordedOf,
  switchOff,
  switchOn,
} from './knocked-device.ts';
import { keepsStrangersOut } from './strangers-scenario.ts';

/** The whole of a first boot, with every factory pair tried, on a busy machine. */
const FIRST_BOOT_LIMIT_MS = 1_800_000;
const REPORT_LIMIT_MS = 600_000;
const BLOCKED = /^BLOCKED: this device stays closed \[(\S+)\]/;
const CODE = 'maker-provider-failed';
/** The device asks every three seconds. */
const POLLS_IN_VAIN = 10;
/** Of the sweep: an update has to go on beside it. The well-known ports are knocked at as often as ever. */
const PORTS_PER_TURN = 2;

export const BLOCKED_TRIAL: Scenario = {
  name: 'first-boot-trial',
  title: 'A release whose provider always fails goes back: nobody reaches the device until it is OPEN again',
  short: false,
  onlyOn: 'debian',
  run: (lab) => enforced(lab, trialGoesBack),
};

export const REPAIR: Scenario = {
  name: 'first-boot-repair',
  title: 'A device whose factory gave it a provider that always fails stays closed until its repair comes',
  short: false,
  onlyOn: 'debian',
  run: (lab) => enforced(lab, factoryFreshTakesRepair),
};

async function enforced(lab: ScenarioLab, run: (lab: ScenarioLab) => Promise<void>): Promise<void> {
  await lab.world.setGate('enforce');
  try {
    await run(lab);
  } finally {
    await lab.world.setGate('report');
  }
}

/** Published, and nothing is made of it any more: a device that boots meanwhile has the machine for itself. */
async function publishCareless(lab: ScenarioLab, fault: ReleaseFault): Promise<PublishedRelease> {
  const release = await lab.publish(fault, await factoryVariant(lab.world, 'agent'));
  await lab.world.waitForForms(release);
  return release;
}

async function trialGoesBack(lab: ScenarioLab): Promise<void> {
  const release = await publishCareless(lab, 'provider-fails');
  const knocked = await switchOn(lab, 'agent', { portsPerTurn: PORTS_PER_TURN });
  const { guest, knocker } = knocked;
  let trialUnixMs = NEVER;
  let againUnixMs = NEVER;
  try {
    await guest.hears(OPENS, FIRST_BOOT_LIMIT_MS);
    await provesRotation(lab, guest);
    lab.check(await hearsAccepted(knocker), `runs well: OPEN on ${FACTORY_RELEASE.version}, its sshd can be reached`);
    await lab.world.rollOut(release, [guest.id]);
    await hearsTrial(lab, guest, 1);
    trialUnixMs = Date.now();
    const heard = knocker.answers.length;
    await trialIsBlocked(lab, guest, release);
    await opensAgain(lab, guest);
    againUnixMs = Date.now() + OPENS_AFTER_MS;
    const more = knocker.answers.length - heard;
    lab.check(more === 0, `from the trial's start until it is OPEN again it answers ${more} of ${knocks(knocker)}`);
    lab.check(await hearsAccepted(knocker, heard), 'OPEN again, its sshd can be reached');
    await guest.settlesOn(FACTORY_RELEASE.version);
    await lab.waitForReason(guest, 'rolled-back', `health-check-failed: first-boot ${CODE}`);
    await lab.waitForReport(guest, /maker:panel/);
    await provesRotation(lab, guest);
    await lab.checkSlot(guest, 'a', FACTORY_RELEASE.version);
    await lab.checkSlot(guest, 'b', release.version);
  } finally {
    await switchOff(knocked);
  }
  const answers = await answersBetween(knocked, trialUnixMs, againUnixMs);
  lab.check(answers === 0, `recorded from the trial's start until it is OPEN again: ${answers} answers of any kind`);
}

async function trialIsBlocked(lab: ScenarioLab, guest: Guest, { version }: PublishedRelease): Promise<void> {
  const trial = await guest.boots(FIRST_BOOT_LIMIT_MS);
  lab.check(trial.version === version && trial.trial, `${trial.version} comes up in slot ${trial.slot}, on trial`);
  const [said, code] = await guest.hears(BLOCKED, FIRST_BOOT_LIMIT_MS);
  lab.check(code === CODE, `its first boot says: ${said}`);
}

/** By itself: nobody does anything. */
async function opensAgain(lab: ScenarioLab, guest: Guest): Promise<void> {
  await guest.hears(/^holdfast: slot a$/, FALL_BACK_LIMIT_MS);
  const back = await guest.boots(FIRST_BOOT_LIMIT_MS);
  lab.check(
    back.slot === 'a' && !back.trial && back.version === FACTORY_RELEASE.version,
    `goes back to slot ${back.slot}, ${back.version}`,
  );
  await guest.hears(OPENS, FIRST_BOOT_LIMIT_MS);
}

async function factoryFreshTakesRepair(lab: ScenarioLab): Promise<void> {
  const repair = await publishCareless(lab, '');
  const knocked = await switchOn(lab, 'provider-fails', { portsPerTurn: PORTS_PER_TURN });
  const { guest, knocker } = knocked;
  let opensUnixMs = NEVER;
  try {
    const [said, code] = await guest.hears(BLOCKED, FIRST_BOOT_LIMIT_MS);
    lab.check(code === CODE, `fresh from the factory its first boot says: ${said}`);
    await guest.settlesOn(FACTORY_RELEASE.version);
    await standsInRed(lab, guest);
    await getsNoUpdate(lab, guest, repair);
    lab.check(knocker.isThere && knocker.answers.length === 0, `until then it answers none of ${knocks(knocker)}`);
    await lab.world.rollOut(repair, [guest.id], undefined, 'repair');
    await hearsTrial(lab, guest, 1);
    const trial = await guest.boots(FIRST_BOOT_LIMIT_MS);
    lab.check(
      trial.version === repair.version,
      `the repair, ${trial.version}, comes up in slot ${trial.slot}, on trial`,
    );
    await guest.hears(OPENS, FIRST_BOOT_LIMIT_MS);
    opensUnixMs = Date.now() + OPENS_AFTER_MS;
    lab.check(knocker.answers.length === 0, `until it is OPEN it answers nothing, ${knocks(knocker)} so far`);
    await isRepaired(lab, knocked, repair);
  } finally {
    await switchOff(knocked);
  }
  const { before, after } = await recordedOf(knocked, opensUnixMs);
  lab.check(nothingIn(before), `recorded from power on until OPEN: ${counted(before)}`);
  lab.check(acceptedIn(after) > 0, `recorded from then on: ${counted(after)}`);
  await checkServerCard(lab, knocked, opensUnixMs);
}

async function standsInRed(lab: ScenarioLab, guest: Guest): Promise<void> {
  const stated = await askUntil(REPORT_LIMIT_MS, 1000, async () => {
    const { credentials } = await lab.world.words.device(guest.id);
    return credentials?.state === 'blocked' ? credentials : undefined;
  });
  lab.check(stated !== undefined, `its own statement says that its first boot is ${stated?.state ?? 'not known'}`);
  const listed = (await unproven(lab)).find(({ deviceId }) => deviceId === guest.id);
  lab.check(
    listed?.credentials === 'factory',
    `holdfast devices --factory lists it, in red: ${listed?.credentials ?? 'it does not'}`,
  );
}

/** The very release that repairs it, as a plain update: it is not given. */
async function getsNoUpdate(lab: ScenarioLab, guest: Guest, release: PublishedRelease): Promise<void> {
  const rolloutId = await lab.world.rollOut(release, [guest.id]);
  await lab.waitForReason(guest, 'factory-credentials', 'its first boot is blocked');
  let polls = 0;
  let lastSeen: number | null = null;
  const { device } = await askUntilPolled();
  const found = await lab.versionIn(guest.disk, 'b');
  lab.check(
    polls === POLLS_IN_VAIN && device.state === 'idle' && device.actionId === null && found === undefined,
    `${release.version} as an update is withheld from it through ${polls} polls; slot b was not written`,
  );
  await lab.world.words.holdfast(['rollout', 'cancel', rolloutId], { quiet: true });

  async function askUntilPolled() {
    let detail = await lab.world.words.device(guest.id);
    await askUntil(REPORT_LIMIT_MS, 500, async () => {
      detail = await lab.world.words.device(guest.id);
      const seen = detail.device.lastSeenUnixMs;
      if (seen !== lastSeen) polls += 1;
      lastSeen = seen;
      return polls === POLLS_IN_VAIN ? true : undefined;
    });
    return detail;
  }
}

async function isRepaired(lab: ScenarioLab, knocked: Knocked, repair: PublishedRelease): Promise<void> {
  const { guest, knocker } = knocked;
  lab.check(await hearsAccepted(knocker), 'once it is OPEN its sshd can be reached');
  await keepsStrangersOut(lab, knocked);
  await guest.settlesOn(repair.version);
  lab.check(true, `the server hears that it confirmed ${repair.version}`);
  await provesRotation(lab, guest);
  await lab.checkWatchdogHeld(guest);
  await lab.checkSlot(guest, 'b', repair.version);
  await lab.checkSlot(guest, 'a', FACTORY_RELEASE.version);
}

/** The server has its statement, and finds nothing against it. */
async function provesRotation(lab: ScenarioLab, guest: Guest): Promise<void> {
  let said = 'nothing';
  const proven = await askUntil(REPORT_LIMIT_MS, 1000, async () => {
    const { credentials } = await lab.world.words.device(guest.id);
    said = `${credentials?.standing ?? 'not enrolled'}, ${credentials?.state ?? 'nothing stated'}, epoch ${credentials?.epoch ?? 0}`;
    return credentials?.standing === 'proven' ? credentials : undefined;
  });
  lab.check(proven !== undefined, `the server says of its credentials: ${said}`);
  const listed = (await unproven(lab)).some(({ deviceId }) => deviceId === guest.id);
  lab.check(!listed, `holdfast devices --factory ${listed ? 'lists it' : 'does not list it'}`);
}

async function unproven({ world }: ScenarioLab): Promise<readonly DeviceView[]> {
  const said = await world.words.holdfast(['devices', '--factory'], { quiet: true });
  return v.parse(v.object({ devices: v.array(DeviceView) }), said).devices;
}
