/**
 * The first boot as the network sees it: somebody knocks at every door of the device from the moment that it has power, and
 * all that its cards carry is recorded.
 */
import { askUntil } from '../../demo/patience.ts';
import { BOOT_LIMIT_MS } from '../guest.ts';
import type { Scenario, ScenarioLab } from '../scenario.ts';
import { FACTORY_RELEASE } from '../world.ts';
import { bootOften } from './boots.ts';
import { FACTORY_PASSWORD, factoryHostKeys, supportKey } from './factory-image.ts';
import {
  acceptedIn,
  checkServerCard,
  counted,
  hearsAccepted,
  type Knocked,
  knocks,
  NEVER,
  nothingIn,
  recordedOf,
  strangerAt,
  switchOff,
  switchOn,
} from './knocked-device.ts';

/** A whole sweep, as the device takes it. */
const SWEEP_LIMIT_MS = 900_000;

export const STRANGERS: Scenario = {
  name: 'first-boot',
  title: 'Nobody reaches a device while it still has its factory secrets',
  short: true,
  onlyOn: 'debian',
  async run(lab) {
    await answersWithoutHoldfast(lab);
    await bootOften(lab, (knocked) => keepsStrangersOut(lab, knocked));
    await staysShutWhenBlocked(lab);
  },
};

async function answersWithoutHoldfast(lab: ScenarioLab): Promise<void> {
  const knocked = await switchOn(lab, 'none');
  try {
    const accepted = await hearsAccepted(knocked.knocker);
    lab.check(
      accepted,
      'without Holdfast the same image lets a stranger connect to its sshd, with the factory secrets',
    );
    const stranger = await strangerAt(lab, knocked);
    const { accepted: letIn } = await stranger.triesPasswords([{ user: 'root', password: FACTORY_PASSWORD }]);
    lab.check(letIn.length === 1, `… and in: ${letIn.join(', ')}`);
    lab.check(
      (await stranger.triesKey('root', supportKey(lab.world))) === 'accepted',
      "… also with the key of the factory's support",
    );
  } finally {
    await switchOff(knocked);
  }
  const { before } = await recordedOf(knocked, NEVER);
  lab.check(acceptedIn(before) > 0, `… as the recording shows: ${counted(before)}`);
}

/** With the real ssh client: what was the factory's lets nobody in any more. */
export async function keepsStrangersOut(lab: ScenarioLab, knocked: Knocked): Promise<void> {
  const stranger = await strangerAt(lab, knocked);
  const { passwords, accepted, unclear } = await stranger.triesPasswords();
  lab.check(
    accepted.length === 0,
    `OPEN: ${passwords} factory passwords tried, accepted: ${accepted.join(', ') || 'none'}`,
  );
  lab.check(unclear.length === 0, `… and each was refused by sshd itself${unclear.map((one) => `; ${one}`).join('')}`);
  lab.check(
    (await stranger.triesKey('root', supportKey(lab.world))) === 'refused',
    "OPEN: the key of the factory's support is refused",
  );
  const shown = await stranger.hostKeys();
  const factory = await factoryHostKeys(lab.world);
  const kept = shown.filter((key) => factory.includes(key));
  lab.check(
    shown.length > 0 && kept.length === 0,
    `OPEN: shows ${shown.length} host keys, ${kept.length} of the factory's`,
  );
}

async function staysShutWhenBlocked(lab: ScenarioLab): Promise<void> {
  const knocked = await switchOn(lab, 'provider-fails');
  const { guest, knocker } = knocked;
  try {
    const isThere = await askUntil(BOOT_LIMIT_MS, 500, () => (knocker.isThere ? true : undefined));
    lab.check(isThere === true, 'BLOCKED: its links come up');
    await guest.settlesOn(FACTORY_RELEASE.version);
    lab.check(true, 'BLOCKED: its agent has enrolled, and the server hears that it is idle');
    const from = knocker.knocks.passes;
    await askUntil(SWEEP_LIMIT_MS, 1000, () => (knocker.knocks.passes > from + 1 ? true : undefined));
    lab.check(
      knocker.knocks.passes > from + 1,
      `BLOCKED: all TCP ports were tried over IPv4 and IPv6, ${knocks(knocker)}`,
    );
  } finally {
    await switchOff(knocked);
  }
  const { before } = await recordedOf(knocked, NEVER);
  lab.check(nothingIn(before), `BLOCKED: recorded from power on: ${counted(before)}`);
  await checkServerCard(lab, knocked, NEVER);
}
