/**
 * A device's life after its first boot: an update that carries the factory's secrets into the other slot, a release that
 * falls back, an owner who opens the escrow, a factory reset. At each stage everything that was the factory's is tried at
 * every door; after the reset, what was the device's own before too.
 */
import { askUntil } from '../../demo/patience.ts';
import type { Scenario, ScenarioLab } from '../scenario.ts';
import { FALL_BACK_LIMIT_MS } from '../scenarios.ts';
import { FACTORY_RELEASE } from '../world.ts';
import { BROKER_PAIR } from './factory-broker.ts';
import { FACTORY_PASSWORD, factoryHostKeys, factoryVariant, RESET_REQUEST, supportKey } from './factory-image.ts';
import { DOORS, type Door, LivedDevice, OPEN_LIMIT_MS } from './lived-device.ts';
import { openOnRequest } from './owners.ts';
import type { Login } from './stranger-logins.ts';

const OPENS = /^lab: opens$/;
const INSTALL_LIMIT_MS = 1_800_000;
const ENROL_LIMIT_MS = 600_000;
const FACTORY_LOGINS: Readonly<Record<Door, Login>> = {
  sshd: { user: 'root', password: FACTORY_PASSWORD },
  'the broker': BROKER_PAIR,
  login: { user: 'root', password: FACTORY_PASSWORD },
};

export const LIFE: Scenario = {
  name: 'first-boot-life',
  title: 'In both slots, after a rollback and after a factory reset no former secret is accepted',
  short: false,
  onlyOn: 'debian',
  async run(lab) {
    await letsTheFactoryInWithoutHoldfast(lab);
    const device = await LivedDevice.switchOn(lab, 'agent');
    try {
      await lives(lab, device);
    } finally {
      await device.switchOff();
    }
  },
};

async function letsTheFactoryInWithoutHoldfast(lab: ScenarioLab): Promise<void> {
  const twin = await LivedDevice.switchOn(lab, 'none');
  try {
    await twin.isUp(lab, 'without Holdfast');
    for (const door of DOORS) {
      const { user } = FACTORY_LOGINS[door];
      const { accepted, unclear } = await twin.tries(door, [FACTORY_LOGINS[door]]);
      lab.check(accepted.length === 1, `without Holdfast ${door} lets the factory's ${user} in${unclear.join()}`);
    }
    const key = await twin.stranger.triesKey('root', supportKey(lab.world));
    lab.check(key === 'accepted', "without Holdfast sshd lets the key of the factory's support in");
  } finally {
    await twin.switchOff();
  }
}

async function lives(lab: ScenarioLab, device: LivedDevice): Promise<void> {
  const { guest } = device;
  await guest.boots(OPEN_LIMIT_MS);
  await opens(lab, device, 'slot a');
  await guest.settlesOn(FACTORY_RELEASE.version, OPEN_LIMIT_MS);
  const first = await keepsStrangersOut(lab, device, 'slot a');

  const good = await lab.publish('', await factoryVariant(lab.world, 'agent'));
  await lab.world.rollOut(good, [guest.id]);
  const trial = await guest.boots(INSTALL_LIMIT_MS);
  lab.check(
    trial.slot === 'b' && trial.trial,
    `${good.version}, with the factory's secrets in it, is on trial in slot b`,
  );
  await opens(lab, device, 'slot b');
  await guest.settlesOn(good.version, OPEN_LIMIT_MS);
  const second = await keepsStrangersOut(lab, device, 'slot b');
  lab.check(same(first, second), 'slot b: shows the host keys that the device made in slot a');

  await fallsBack(lab, device, good.version);
  const third = await keepsStrangersOut(lab, device, 'after a rollback');
  lab.check(same(first, third), 'after a rollback: the same host keys');

  const own = await ownSecrets(lab, device);
  await isReset(lab, device, own.logins);
  const last = await keepsStrangersOut(lab, device, 'after a reset');
  const kept = last.filter((key) => first.includes(key));
  lab.check(last.length > 0 && kept.length === 0, `after a reset: ${kept.length} of the former host keys are shown`);
  await refusesFormer(lab, device, own.logins);
  await comesBack(lab, device, good.version, own.epoch);
}

async function opens(lab: ScenarioLab, device: LivedDevice, stage: string): Promise<void> {
  await device.guest.hears(OPENS, OPEN_LIMIT_MS);
  lab.check(true, `${stage}: OPEN`);
  await device.isUp(lab, stage);
}

/** Every pair at every door, the support's key, the host keys; answers which are shown. */
async function keepsStrangersOut(lab: ScenarioLab, device: LivedDevice, stage: string): Promise<readonly string[]> {
  const tried = await Promise.all(DOORS.map((door) => device.tries(door)));
  for (const [at, { passwords, accepted, unclear }] of tried.entries()) {
    lab.check(
      accepted.length === 0 && unclear.length === 0,
      `${stage}: ${DOORS[at]} was asked with ${passwords} factory passwords, accepted ${accepted.length}, refused ${passwords - accepted.length - unclear.length}${unclear.map((one) => `; ${one}`).join('')}`,
    );
  }
  const key = await device.stranger.triesKey('root', supportKey(lab.world));
  lab.check(key === 'refused', `${stage}: the key of the factory's support is ${key}`);
  const shown = await device.stranger.hostKeys();
  const factory = await factoryHostKeys(lab.world);
  const kept = shown.filter((one) => factory.includes(one));
  lab.check(
    shown.length > 0 && kept.length === 0,
    `${stage}: shows ${shown.length} host keys, ${kept.length} of the factory's`,
  );
  return shown.toSorted();
}

async function fallsBack(lab: ScenarioLab, device: LivedDevice, version: string): Promise<void> {
  const { guest } = device;
  const bad = await lab.publish('unhealthy', await factoryVariant(lab.world, 'agent'));
  await lab.world.rollOut(bad, [guest.id]);
  const trial = await guest.boots(INSTALL_LIMIT_MS);
  lab.check(
    trial.slot === 'a' && trial.trial,
    `${bad.version}, with the factory's secrets in it, is on trial in slot a`,
  );
  await guest.hears(/^holdfast: slot b$/, FALL_BACK_LIMIT_MS);
  const boot = await guest.boots(OPEN_LIMIT_MS);
  lab.check(boot.slot === 'b' && !boot.trial && boot.version === version, 'its health check fails: back in slot b');
  await opens(lab, device, 'after a rollback');
  await guest.settlesOn(version, OPEN_LIMIT_MS);
}

/** What the owner opens lets him in. The device cannot hear meanwhile that it is to rotate what was opened. */
async function ownSecrets(
  lab: ScenarioLab,
  device: LivedDevice,
): Promise<{ readonly epoch: number; readonly logins: Readonly<Record<Door, Login>> }> {
  const { epoch, secrets } = await device.guest.machine.whilePaused(async () => {
    const opened = await openOnRequest(lab.world, device.guest.id);
    await lab.world.stopServer();
    return opened;
  });
  const names = [...secrets.keys()].sort();
  lab.check(true, `the owner asks for the escrow of epoch ${epoch} and opens it: ${names.join(', ')}`);
  const textOf = (name: string): string => secrets.get(name) ?? '';
  const root = { user: 'root', password: textOf('password:root') };
  const logins = {
    sshd: root,
    'the broker': { user: BROKER_PAIR.user, password: textOf('mqtt-password:broker') },
    login: root,
  };
  for (const door of DOORS) {
    const { accepted, unclear } = await device.tries(door, [logins[door]]);
    lab.check(accepted.length === 1, `what he opened lets ${logins[door].user} in at ${door}${unclear.join()}`);
  }
  return { epoch, logins };
}

/** The owner is at the device. */
async function isReset(lab: ScenarioLab, device: LivedDevice, own: Readonly<Record<Door, Login>>): Promise<void> {
  await device.types(own.login, `touch ${RESET_REQUEST} && sync && systemctl reboot`);
  const boot = await device.guest.boots(OPEN_LIMIT_MS);
  lab.check(
    boot.slot === 'b' && !boot.trial,
    `the owner asks for a factory reset at the console: it boots slot ${boot.slot}`,
  );
  await opens(lab, device, 'after a reset');
}

async function refusesFormer(lab: ScenarioLab, device: LivedDevice, own: Readonly<Record<Door, Login>>): Promise<void> {
  for (const door of DOORS) {
    const { accepted, unclear } = await device.tries(door, [own[door]]);
    lab.check(
      accepted.length + unclear.length === 0,
      `after a reset: what was the device's own before is refused by ${door}${unclear.join()}`,
    );
  }
}

/** With a new key: its owner lets it in again, and it brings what it sealed in its new epoch. */
async function comesBack(lab: ScenarioLab, { guest }: LivedDevice, version: string, former: number): Promise<void> {
  await lab.world.startServer();
  const credentials = async () => (await lab.world.words.device(guest.id)).credentials;
  const key = await askUntil(ENROL_LIMIT_MS, 2000, async () => (await credentials())?.waitingKeys[0]);
  lab.check(key !== undefined, 'after a reset: its new key waits for an approver');
  const words = ['devices', 'approve', guest.id, '--why', 'it was reset by its owner'];
  await lab.world.words.holdfast(words, { quiet: true });
  const epoch = await askUntil(ENROL_LIMIT_MS, 2000, async () => {
    const told = (await credentials())?.epoch ?? 0;
    return told > former ? told : undefined;
  });
  lab.check(epoch !== undefined, `after a reset: approved, it states epoch ${epoch}; it was ${former}`);
  await guest.settlesOn(version, OPEN_LIMIT_MS);
}

const same = (one: readonly string[], other: readonly string[]): boolean =>
  JSON.stringify(one) === JSON.stringify(other);
