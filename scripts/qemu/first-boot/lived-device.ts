/** A factory's device with three doors: sshd and a broker on its network, and logins on four serial lines. */
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FACTORY_PAIRS } from '../../../protocol/factory-pairs.ts';
import { freePorts } from '../../demo/free-ports.ts';
import type { Guest } from '../guest.ts';
import type { ScenarioLab } from '../scenario.ts';
import { triesBroker } from './broker-login.ts';
import { ConsoleLogin } from './console-login.ts';
import { BROKER_PORT } from './factory-broker.ts';
import { type FirstBootProgram, makeFactoryImage } from './factory-image.ts';
import { type Login, Stranger, type Tried, tryEach } from './stranger-logins.ts';

/** A first boot that tries every factory password on its private sshd, emulated, on a busy machine. */
export const OPEN_LIMIT_MS = 1_200_000;
const LINES = 4;
const BROKERS_AT_ONCE = 4;
const SSH_PORT = 22;

export type Door = 'sshd' | 'the broker' | 'login';
export const DOORS: readonly Door[] = ['sshd', 'the broker', 'login'];

export class LivedDevice {
  readonly guest: Guest;
  readonly stranger: Stranger;
  readonly #brokerPort: number;
  readonly #paths: readonly string[];
  #lines: readonly ConsoleLogin[] = [];

  private constructor(guest: Guest, stranger: Stranger, brokerPort: number) {
    this.guest = guest;
    this.stranger = stranger;
    this.#brokerPort = brokerPort;
    const name = `holdfast-line-${randomBytes(6).toString('hex')}`;
    this.#paths = Array.from({ length: LINES }, (_, at) => join(tmpdir(), `${name}-${at}`));
  }

  static async switchOn(lab: ScenarioLab, program: FirstBootProgram): Promise<LivedDevice> {
    const guest = await lab.newGuest({ rootImage: await makeFactoryImage(lab.world, program) });
    const [sshPort = 0, brokerPort = 0] = await freePorts(2);
    const stranger = await Stranger.at(sshPort, lab.world.path('devices', `${guest.id}-stranger`));
    const device = new LivedDevice(guest, stranger, brokerPort);
    const doors = [
      { hostPort: sshPort, devicePort: SSH_PORT },
      { hostPort: brokerPort, devicePort: BROKER_PORT },
    ];
    await guest.powerOn({ doors, consoles: device.#paths });
    device.#lines = await Promise.all(device.#paths.map((path) => ConsoleLogin.at(path)));
    return device;
  }

  async switchOff(): Promise<void> {
    for (const line of this.#lines) line.end();
    if (this.guest.isOn) await this.guest.shutDown();
    for (const path of this.#paths) await rm(path, { force: true });
  }

  /** The boot under way comes to its end, and its broker has been asked by the device's own client. */
  async isUp(lab: ScenarioLab, stage: string): Promise<void> {
    const [, said] = await this.guest.hears(/^lab: the broker (takes|refuses) its own client$/, OPEN_LIMIT_MS);
    lab.check(said === 'takes', `${stage}: its broker ${said} the device's own client`);
    await lab.checkUnits(this.guest, OPEN_LIMIT_MS);
  }

  /** These logins at this door; all that strangers try, when nothing is said. */
  tries(door: Door, logins: readonly Login[] = FACTORY_PAIRS): Promise<Tried> {
    if (door === 'sshd') return this.stranger.triesPasswords(logins);
    if (door === 'login')
      return tryEach(
        logins,
        this.#lines.map((line) => (login: Login) => line.tries(login)),
      );
    const ask = (login: Login): Promise<string> => triesBroker(this.#brokerPort, login);
    return tryEach(
      logins,
      Array.from({ length: BROKERS_AT_ONCE }, () => ask),
    );
  }

  /** Somebody at the device who may log in types a line at its console. */
  async types(login: Login, line: string): Promise<void> {
    const [first] = this.#lines;
    if (first === undefined) throw new Error(`${this.guest.id} is off`);
    await first.types(login, line);
  }
}
