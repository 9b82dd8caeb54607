/**
 * A device whose systemd really boots: a Debian root under an overlay, in a container with a console that is a terminal,
 * and with its own network namespace. Power on, look inside, power off. Needs root.
 *
 * Invariants: the kept root is never written; nothing is ended but what was started here.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { askUntil } from '../demo/patience.ts';
import { needProgram, type ProgramResult, runProgram } from '../programs.ts';

const START_LIMIT_MS = 120_000;
const POLL_MS = 200;

export class Container {
  /** The device's root file system; files may be laid into it before power on. */
  readonly root: string;
  readonly #folder: string;
  #child: ChildProcess | undefined;
  #firstProcess: number | undefined;
  #namespace = '';

  private constructor(folder: string) {
    this.#folder = folder;
    this.root = join(folder, 'root');
  }

  static async make(kept: string, folder: string): Promise<Container> {
    const container = new Container(folder);
    const [upper, work] = [join(folder, 'upper'), join(folder, 'work')];
    for (const path of [upper, work, container.root]) await mkdir(path, { recursive: true });
    const options = `lowerdir=${kept},upperdir=${upper},workdir=${work}`;
    await needProgram('mount', ['-t', 'overlay', 'overlay', '-o', options, container.root]);
    return container;
  }

  get #consoleFile(): string {
    return join(this.#folder, 'console');
  }

  /** All that the console has shown. */
  console(): Promise<string> {
    return readFile(this.#consoleFile, 'latin1').catch(() => '');
  }

  /** It went down by itself, as a reboot does: nothing here starts it again. */
  get isDown(): boolean {
    return this.#child?.exitCode != null;
  }

  async powerOn(namespace = this.#namespace): Promise<void> {
    this.#namespace = namespace;
    this.#firstProcess = undefined;
    const words = [
      ...['systemd-nspawn', '--quiet', '--directory', this.root, '--boot', '--register=no', '--keep-unit'],
      ...['--console=interactive', '--capability=CAP_NET_ADMIN', `--network-namespace-path=/run/netns/${namespace}`],
    ];
    // `script` gives the console a terminal. Its input stays open: an end of it would be a Ctrl-D to whoever asks for a password.
    this.#child = spawn('script', ['--quiet', '--flush', '--command', words.join(' '), this.#consoleFile], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    const started = this.#child.pid ?? 0;
    this.#firstProcess = await askUntil(START_LIMIT_MS, POLL_MS, () => firstProcessBelow(started));
    if (this.#firstProcess === undefined) throw new Error(`no container came up: ${await this.console()}`);
  }

  /** Runs a program of the device, as root. */
  run(...words: readonly string[]): Promise<ProgramResult> {
    const spaces = ['--mount', '--uts', '--ipc', '--net', '--pid', '--root', '--wdns=/'];
    return runProgram('nsenter', ['--target', String(this.#firstProcess), ...spaces, ...words], {
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', SYSTEMD_PAGER: '' },
    });
  }

  /** A unit's property; empty when systemd does not answer. */
  async property(unit: string, name: string): Promise<string> {
    return (await this.run('systemctl', 'show', `--property=${name}`, '--value', unit)).stdout.trim();
  }

  /** Resolves true once the unit is in one of the states. */
  async becomes(unit: string, states: readonly string[], limitMs: number): Promise<boolean> {
    const asked = async (): Promise<true | undefined> =>
      states.includes(await this.property(unit, 'ActiveState')) ? true : undefined;
    return (await askUntil(limitMs, POLL_MS, asked)) === true;
  }

  /** The power is gone. */
  async powerOff(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    const ended = child.exitCode === null ? once(child, 'exit') : Promise.resolve();
    // The first process of a container takes everything in it along.
    if (this.#firstProcess === undefined) child.kill('SIGKILL');
    else process.kill(this.#firstProcess, 'SIGKILL');
    await ended;
  }

  async remove(): Promise<void> {
    await this.powerOff();
    await needProgram('umount', ['--recursive', this.root]);
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** The process that is number 1 of a namespace of its own, below `ancestor`. */
async function firstProcessBelow(ancestor: number): Promise<number | undefined> {
  const parents = new Map<number, number>();
  const firsts: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const status = await readFile(`/proc/${name}/status`, 'utf8').catch(() => '');
    parents.set(Number(name), Number(/^PPid:\t(\d+)/m.exec(status)?.[1] ?? 0));
    if (/^NSpid:\t.*\t1$/m.test(status)) firsts.push(Number(name));
  }
  const isBelow = (pid: number): boolean => pid === ancestor || (pid > 1 && isBelow(parents.get(pid) ?? 0));
  return firsts.find(isBelow);
}
