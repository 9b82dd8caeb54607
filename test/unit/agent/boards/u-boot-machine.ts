/**
 * A real U-Boot (Debian's u-boot-qemu, for QEMU's arm64 machine) at its prompt, with the project's boot script compiled by
 * mkimage and laid into its memory. No kernel: what would load and start one prints instead. Its environment can lie in a
 * file on a FAT disk, one copy, where fw_printenv and fw_setenv reach it while the machine is off.
 */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const FIRMWARE = '/usr/lib/u-boot/qemu_arm64/u-boot.bin';
const SCRIPT = resolve(import.meta.dirname, '../../../../agent/boards/u-boot/boot.cmd');
const SCRIPT_ADDRESS = '0x44000000';
const MEMORY = '0x42000000';
/** Size of the environment file, as fw_env.config and U-Boot say it. */
export const ENVIRONMENT_BYTES = '0x4000';
const DISK_BYTES = 4 * 1024 * 1024;
const PROMPT = '=> ';

export const HAS_U_BOOT =
  existsSync(FIRMWARE) &&
  ['qemu-system-aarch64', 'mkimage', 'mcopy'].every((name) => spawnSync(name, ['--version']).error === undefined);

/** Stands in for what loads and starts a kernel, and for what resets the board. */
const WITHOUT_KERNEL = {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: U-Boot's variables
  holdfast_load: 'test "${holdfast_slot}" != "${dead}"',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: U-Boot's variables
  holdfast_start: 'echo START ${bootargs}',
  holdfast_reset: 'echo RESET',
} as const;

const READ_FROM_DISK = `load virtio 0:0 ${MEMORY} uboot.env && env import -c ${MEMORY} ${ENVIRONMENT_BYTES}`;
const SAVE_TO_DISK = `env export -c -s ${ENVIRONMENT_BYTES} ${MEMORY} && fatwrite virtio 0:0 ${MEMORY} uboot.env ${ENVIRONMENT_BYTES}`;
/** Where Debian keeps mkfs.fat; not on every user's path. */
const SYSTEM_PATH = { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };

export class UBootMachine {
  readonly #process: ChildProcessWithoutNullStreams;
  #output = '';

  private constructor(process: ChildProcessWithoutNullStreams) {
    this.#process = process;
    process.stdout.on('data', (chunk: Buffer) => {
      this.#output += chunk.toString('latin1');
    });
  }

  /** A FAT disk that holds these files, by the names they have here. */
  static makeDisk(disk: string, ...files: readonly string[]): void {
    writeFileSync(disk, '');
    truncateSync(disk, DISK_BYTES);
    execFileSync('mkfs.fat', [disk], { stdio: 'ignore', env: SYSTEM_PATH });
    execFileSync('mcopy', ['-i', disk, ...files, '::']);
  }

  /** Copies the environment file out of the disk. */
  static readDisk(disk: string, environment: string): void {
    execFileSync('mcopy', ['-n', '-o', '-i', disk, '::uboot.env', environment]);
  }

  /** At the prompt, with the stand-ins set. `before`: what a board puts before the boot script. */
  static async start(disk?: string, before = ''): Promise<UBootMachine> {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-u-boot-'));
    const [text, script] = [join(folder, 'boot.cmd'), join(folder, 'boot.scr')];
    writeFileSync(text, before + readFileSync(SCRIPT, 'utf8'));
    execFileSync('mkimage', ['-A', 'arm64', '-O', 'linux', '-T', 'script', '-C', 'none', '-d', text, script]);
    const words = ['-M', 'virt', '-cpu', 'cortex-a53', '-m', '128', '-nographic', '-net', 'none', '-bios', FIRMWARE];
    words.push('-device', `loader,file=${script},addr=${SCRIPT_ADDRESS},force-raw=on`);
    if (disk !== undefined) {
      words.push('-drive', `if=none,id=disk,format=raw,file=${disk}`, '-device', 'virtio-blk-device,drive=disk');
    }
    const machine = new UBootMachine(spawn('qemu-system-aarch64', words));
    await machine.#until('stop autoboot');
    machine.#process.stdin.write('\n');
    await machine.#until(PROMPT);
    for (const [name, value] of Object.entries(WITHOUT_KERNEL)) await machine.command(`setenv ${name} '${value}'`);
    if (disk !== undefined)
      await machine.command(`virtio scan; ${READ_FROM_DISK}; setenv holdfast_save '${SAVE_TO_DISK}'`);
    return machine;
  }

  /** What the command printed. */
  async command(text: string): Promise<string> {
    const mark = `end-of-${Math.random().toString(36).slice(2)}`;
    // Typed in two parts, so that the echo of the command is not taken for its answer.
    this.#process.stdin.write(`${text}; echo ${mark.slice(0, 4)}''${mark.slice(4)}\n`);
    const printed = await this.#until(mark);
    await this.#until(PROMPT);
    return printed;
  }

  /** Runs the boot script on these variables: lines that it printed. */
  async boot(variables: Readonly<Record<string, string>>): Promise<string[]> {
    for (const [name, value] of Object.entries(variables)) {
      await this.command(value === '' ? `setenv ${name}` : `setenv ${name} '${value}'`);
    }
    const printed = await this.command(`source ${SCRIPT_ADDRESS}`);
    return printed.split(/\r?\n/).filter((line) => /^(START|SAVE|RESET|holdfast:)/.test(line));
  }

  async stop(): Promise<void> {
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGTERM');
    await ended;
  }

  async #until(text: string): Promise<string> {
    while (!this.#output.includes(text)) await once(this.#process.stdout, 'data');
    const end = this.#output.indexOf(text) + text.length;
    const found = this.#output.slice(0, end);
    this.#output = this.#output.slice(end);
    return found;
  }
}
