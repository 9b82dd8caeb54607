/**
 * The shipped U-Boot adapter on a simulated disk: libubootenv's two programs and the boot script, as models.
 *
 * The environment: two copies of one size (CRC-32 · a flag that counts · variables), the older one written over, in
 * place. The boot script counts as `chooseBoot` does; test/unit/agent/boards/u-boot-script.test.ts holds it to that with
 * a real U-Boot, and u-boot.test.ts the adapter with the real programs. The mark of the good slot lies on a FAT.
 */
import { readFile } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { RunProgram } from '../../../agent/boards/board-program.ts';
import { isSlot, rewriteInPlace } from '../../../agent/boards/machine.ts';
import { UBootBoard } from '../../../agent/boards/u-boot.ts';
import type { BootFlags, Slot } from '../../../agent/core/ports.ts';
import type { Disk } from '../../../platform/disk.ts';
import { chooseBoot } from '../../../platform/emulated-boot-env.ts';
import { DiskWithProc, type MachineKind, slotPaths } from './machine.ts';

const COPIES = ['/environment/copy-0', '/environment/copy-1'] as const;
const COPY_BYTES = 2048;
const HEADER_BYTES = 5;
const GOOD = '/boot/holdfast.good';
const DEFAULTS = '/etc/u-boot-initial-env';
const CANARY = 'c0ffee';

type Variables = ReadonlyMap<string, string>;

interface Copy {
  readonly flag: number;
  readonly variables: Variables;
}

function encodeCopy({ flag, variables }: Copy): Uint8Array {
  const bytes = Buffer.alloc(COPY_BYTES);
  bytes.write([...variables].map(([name, value]) => `${name}=${value}\0`).join(''), HEADER_BYTES, 'latin1');
  bytes[4] = flag;
  bytes.writeUInt32LE(crc32(bytes.subarray(HEADER_BYTES)), 0);
  return bytes;
}

/** Undefined when its checksum is wrong. */
export function decodeEnvironmentCopy(bytes: Uint8Array | undefined): Copy | undefined {
  if (bytes?.length !== COPY_BYTES) return undefined;
  const view = Buffer.from(bytes);
  if (view.readUInt32LE(0) !== crc32(view.subarray(HEADER_BYTES))) return undefined;
  const lines = view.subarray(HEADER_BYTES).toString('latin1').split('\0').filter(Boolean);
  const variables = new Map(
    lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const),
  );
  return { flag: view[4] ?? 0, variables };
}

/** The newer copy, and which one a next write goes over. The flag is a byte that goes round. */
function choose(copies: readonly (Copy | undefined)[]): { current: Copy | undefined; writeTo: 0 | 1 } {
  const [first, second] = copies;
  if (first === undefined || second === undefined) {
    return { current: first ?? second, writeTo: first === undefined ? 0 : 1 };
  }
  const secondIsNewer = ((second.flag - first.flag + 256) & 255) === 1;
  return secondIsNewer ? { current: second, writeTo: 0 } : { current: first, writeTo: 1 };
}

async function readCopies(disk: Disk) {
  const copies = await Promise.all(COPIES.map((path) => disk.readFile(path, COPY_BYTES)));
  return choose(copies.map(decodeEnvironmentCopy));
}

async function store(disk: Disk, change: Variables): Promise<void> {
  const { current, writeTo } = await readCopies(disk);
  const variables = new Map(current?.variables ?? [['bootcmd', 'run distro_bootcmd']]);
  for (const [name, value] of change) {
    if (value === '') variables.delete(name);
    else variables.set(name, value);
  }
  await rewriteInPlace(disk, COPIES[writeTo], encodeCopy({ flag: ((current?.flag ?? 0) + 1) & 255, variables }));
}

/** fw_printenv, fw_setenv -s FILE, reboot. */
function programs(disk: Disk): RunProgram {
  const done = (stdout = '') => ({ status: 0, stdout, said: '' });
  return async (path, words) => {
    if (path === 'reboot') return done();
    if (path === 'fw_setenv') {
      const lines = (await readFile(words.at(-1) ?? '', 'utf8')).split('\n').filter(Boolean);
      await store(disk, new Map(lines.map((line) => [line.split('=')[0] ?? '', line.slice(line.indexOf('=') + 1)])));
      return done();
    }
    const { current } = await readCopies(disk);
    if (current === undefined) return { status: 1, stdout: '', said: 'Cannot read environment, using default' };
    return done([...current.variables].map(([name, value]) => `${name}=${value}\n`).join(''));
  };
}

const leftName = (slot: Slot) => `BOOT_${slot.toUpperCase()}_LEFT`;

function flagsOf(variables: Variables, good: Uint8Array | undefined): BootFlags {
  const order = (variables.get('BOOT_ORDER') ?? '').split(' ').filter(isSlot);
  const slot = (['a', 'b'] as const).find((one) => variables.has(leftName(one)));
  const marked = new TextDecoder().decode(good).startsWith('holdfast_good=b') ? 'b' : 'a';
  const attemptsLeft = slot === undefined ? 0 : Number(variables.get(leftName(slot)));
  return {
    order: order.length > 0 ? order : [marked],
    trial: slot === undefined ? null : { slot, attemptsLeft },
  };
}

export const U_BOOT: MachineKind = {
  name: 'u-boot',

  async makeFactory(disk) {
    const variables = new Map([
      ['bootcmd', 'run distro_bootcmd'],
      ['holdfast_canary', CANARY],
      ['BOOT_ORDER', 'a b'],
    ]);
    for (const [flag, path] of COPIES.entries()) await disk.place(path, encodeCopy({ flag, variables }));
    await disk.place(DEFAULTS, new TextEncoder().encode('bootcmd=run distro_bootcmd\n'));
    await disk.mountFat('/boot');
  },

  start(bare, directory) {
    const disk = new DiskWithProc(bare);
    const files = { environmentConfig: '/etc/fw_env.config', defaultEnvironment: DEFAULTS, goodSlotFile: GOOD };
    const settings = { ...files, slots: slotPaths(directory), procDirectory: '/proc' };
    return {
      board: new UBootBoard(disk, settings, programs(bare)),
      async powerOn(bootId) {
        const { current } = await readCopies(bare);
        const variables = current?.variables ?? new Map();
        const { order, trial } = flagsOf(variables, await bare.readFile(GOOD, 64));
        const env = { order, trial };
        const choice = chooseBoot(env);
        const left = choice.env.trial;
        if (choice.env !== env && left !== null) {
          await store(bare, new Map([[leftName(left.slot), String(left.attemptsLeft)]]));
        }
        const words = `holdfast.slot=${choice.slot} holdfast.trial=${choice.trial ? 1 : 0}`;
        await disk.setProc({
          cmdline: `${words} holdfast.canary=${variables.get('holdfast_canary') ?? ''}\n`,
          'sys/kernel/random/boot_id': `${bootId}\n`,
        });
        return { slot: choice.slot, trial: choice.trial };
      },
    };
  },

  async flags(disk) {
    const { current } = choose(COPIES.map((path) => decodeEnvironmentCopy(disk.contentOf(path)?.bytes)));
    return flagsOf(current?.variables ?? new Map(), disk.contentOf(GOOD)?.bytes);
  },
};
