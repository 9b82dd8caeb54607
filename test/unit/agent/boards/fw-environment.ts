/**
 * A U-Boot environment of two redundant copies in a folder, handled by libubootenv's real fw_printenv and fw_setenv, and
 * what a power cut during a write of a copy can leave: any part of its sectors, new or old.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunProgram, runProgram } from '../../../../agent/boards/board-program.ts';

const SECTOR_BYTES = 512;
const COPY_BYTES = 4 * SECTOR_BYTES;

export const HAS_FW_TOOLS = spawnSync('fw_setenv', ['-V']).error === undefined;

export type Medium = ReadonlyMap<string, Buffer>;

export class FwEnvironment {
  readonly directory: string;
  /** Media as they were at each point where something was about to happen, or had happened. */
  readonly states: Medium[] = [];
  reboots = 0;

  constructor(variables: Readonly<Record<string, string>>, directory = mkdtempSync(join(tmpdir(), 'holdfast-board-'))) {
    this.directory = directory;
    mkdirSync(join(directory, 'medium'), { recursive: true });
    mkdirSync(join(directory, 'proc/sys/kernel/random'), { recursive: true });
    writeFileSync(this.path('proc/sys/kernel/random/boot_id'), '5d1e0c5e-0000-4000-8000-000000000001\n');
    writeFileSync(this.path('defaults'), 'bootcmd=run distro_bootcmd\nbootdelay=2\n');
    for (const copy of ['copy-0', 'copy-1']) writeFileSync(this.path(`medium/${copy}`), Buffer.alloc(COPY_BYTES));
    writeFileSync(
      this.config,
      ['copy-0', 'copy-1'].map((copy) => `${this.path(`medium/${copy}`)} 0x0 0x${COPY_BYTES.toString(16)}\n`).join(''),
    );
    if (Object.keys(variables).length > 0) this.set(variables);
  }

  get config(): string {
    return this.path('fw_env.config');
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** As a bootloader or a factory would: not through the board. */
  set(variables: Readonly<Record<string, string>>): void {
    const script = this.path('script');
    writeFileSync(
      script,
      Object.entries(variables)
        .map(([name, value]) => `${name}=${value}\n`)
        .join(''),
    );
    execFileSync('fw_setenv', ['-c', this.config, '-f', this.path('defaults'), '-s', script], { stdio: 'ignore' });
  }

  get(): Map<string, string> {
    const text = execFileSync('fw_printenv', ['-c', this.config, '-f', '/nonexistent'], { encoding: 'utf8' });
    return new Map(text.split('\n').map((line) => [line.split('=')[0] ?? '', line.slice(line.indexOf('=') + 1)]));
  }

  commandLine(text: string): void {
    writeFileSync(this.path('proc/cmdline'), `console=ttyS0 ${text}\n`);
  }

  damage(...copies: (0 | 1)[]): void {
    for (const copy of copies) writeFileSync(this.path(`medium/copy-${copy}`), Buffer.alloc(COPY_BYTES, 0xa5));
  }

  medium(): Medium {
    const names = readdirSync(this.path('medium')).sort();
    return new Map(names.map((name) => [name, readFileSync(this.path(`medium/${name}`))]));
  }

  fingerprint(): string {
    const hash = createHash('sha256');
    for (const [name, bytes] of this.medium()) hash.update(name).update(bytes);
    return hash.digest('hex');
  }

  /** The real programs; what stood on the medium before and after each is kept, and a reboot only counted. */
  readonly run: RunProgram = async (path, words, given) => {
    if (path === 'reboot') {
      this.reboots += 1;
      return { status: 0, stdout: '', said: '' };
    }
    this.states.push(this.medium());
    const end = await runProgram(path, words, given);
    this.states.push(this.medium());
    return end;
  };

  /** Every state kept, and every torn state between two of them; the last is the last. */
  cuts(): Medium[] {
    this.states.push(this.medium());
    const found: Medium[] = [];
    for (const [index, state] of this.states.entries()) {
      const before = this.states[index - 1];
      if (before !== undefined) found.push(...tornStates(before, state));
      found.push(state);
    }
    const distinct = new Map(
      found.map((medium) => [[...medium].map(([name, bytes]) => name + bytes.toString('base64')).join(), medium]),
    );
    const last = this.medium();
    return [...distinct.values(), last];
  }

  /** The same device with another medium, in a folder of its own. */
  withMedium(medium: Medium): FwEnvironment {
    const copy = new FwEnvironment({});
    for (const [name, bytes] of medium) writeFileSync(copy.path(`medium/${name}`), bytes);
    writeFileSync(copy.path('proc/cmdline'), readFileSync(this.path('proc/cmdline')));
    return copy;
  }
}

function tornStates(before: Medium, after: Medium): Medium[] {
  const changed = [...after].filter(([name, bytes]) => before.get(name)?.equals(bytes) === false);
  return changed.flatMap(([name, bytes]) => {
    const old = before.get(name) ?? Buffer.alloc(0);
    const sectors = Math.ceil(bytes.length / SECTOR_BYTES);
    return Array.from({ length: 2 ** sectors }, (_, mask) => {
      const torn = Buffer.from(old);
      for (let sector = 0; sector < sectors; sector += 1) {
        if ((mask >> sector) & 1)
          bytes.copy(torn, sector * SECTOR_BYTES, sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
      }
      return new Map([...before, [name, torn]]);
    });
  });
}
