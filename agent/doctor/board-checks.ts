/**
 * What the board needs for a safe update: which slot runs, flags that can be read, places to write that are large enough
 * and are neither what runs nor what holds the device's own data; and what each kind keeps its flags in. Looks only.
 */
import { constants, type Stats } from 'node:fs';
import { access, mkdtemp, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Disk } from '../../platform/disk.ts';
import { errorText } from '../../platform/fault.ts';
import type { BoardConfig } from '../boards/board-config.ts';
import { runProgram } from '../boards/board-program.ts';
import { other, readCapped, SLOTS, type SlotPaths } from '../boards/machine.ts';
import { AUTOBOOT_BYTES } from '../boards/tryboot.ts';
import { UBootBoard } from '../boards/u-boot.ts';
import type { AgentConfig } from '../config.ts';
import type { Board, Slot } from '../core/ports.ts';
import { advice, type DoctorRow, examine, missing, ok } from './finding.ts';

export async function checkBoard(config: AgentConfig, board: Board, disk: Disk): Promise<DoctorRow[]> {
  if (board.kind === 'none') {
    return [
      advice(
        'board',
        'none: this device installs nothing',
        'Choose a board in agent.json once the image has A/B slots.',
      ),
    ];
  }
  const settings = config.board;
  return [
    ...(await examine('boot-flags', () => checkFlags(board))),
    ...('slots' in settings ? await examine('slots', () => checkSlots(config, board, settings.slots)) : []),
    ...(board instanceof UBootBoard && settings.kind === 'u-boot' ? await checkUBoot(settings, board, disk) : []),
    ...(settings.kind === 'tryboot' ? await examine('autoboot', () => checkAutoboot(settings.autobootFile, disk)) : []),
  ];
}

async function checkFlags(board: Board): Promise<DoctorRow[]> {
  const { slot, trial } = await board.bootFacts();
  const flags = await board.bootFlags();
  const says = `slot ${slot} runs${trial ? ' on trial' : ''}; order ${flags.order.join(' ')}${flags.trial === null ? '' : `, trial of ${flags.trial.slot} with ${flags.trial.attemptsLeft} left`}`;
  if (flags.order.includes(slot) || flags.trial?.slot === slot) return [ok('boot-flags', says)];
  return [missing('boot-flags', says, 'What runs must be in the boot order; set it as docs/BOARDS.md shows.')];
}

interface Place {
  readonly slot: Slot;
  readonly component: string;
  readonly path: string;
  readonly facts: Stats | undefined;
  readonly sizeBytes: number;
}

async function checkSlots({ dataDirectory }: AgentConfig, board: Board, slots: SlotPaths): Promise<DoctorRow[]> {
  const { slot: booted } = await board.bootFacts();
  const places: Place[] = [];
  for (const slot of SLOTS) {
    for (const [component, path] of Object.entries(slots[slot])) places.push(await placeOf(slot, component, path));
  }
  const devices = { data: (await stat(dataDirectory)).dev, mounted: await mountedDevices() };
  const rows: DoctorRow[] = [];
  for (const place of places.filter(({ slot }) => slot === other(booted))) {
    const twin = places.find(({ slot, component }) => slot === booted && component === place.component);
    const [says, cure] = (await whyUnfit(place, twin, devices)) ?? [];
    const check = `slot-${place.slot}-${place.component}`;
    if (says === undefined) rows.push(ok(check, `${place.path}, ${place.sizeBytes} bytes`));
    else rows.push(missing(check, `${place.path} ${says}`, cure ?? ''));
  }
  return rows;
}

async function placeOf(slot: Slot, component: string, path: string): Promise<Place> {
  const facts = await stat(path).catch(() => undefined);
  const sizeBytes = facts?.isBlockDevice() ? await blockDeviceBytes(facts.rdev) : (facts?.size ?? 0);
  return { slot, component, path, facts, sizeBytes };
}

async function whyUnfit(
  place: Place,
  twin: Place | undefined,
  devices: { data: number; mounted: ReadonlySet<string> },
): Promise<readonly [string, string] | undefined> {
  const { path, facts, sizeBytes } = place;
  if (facts === undefined)
    return ['is not there', 'Partition the medium with both slots, or correct the path in agent.json.'];
  if (!facts.isBlockDevice() && !facts.isFile())
    return ['is neither a block device nor a file', 'Name the partition itself.'];
  if (twin?.facts !== undefined && (await isSame(path, facts, twin)))
    return ['is the place of the slot that runs', 'Give each slot a partition of its own.'];
  if (facts.isBlockDevice()) {
    if (facts.rdev === devices.data) return ['holds the data directory', 'Give the data a partition of its own.'];
    if (devices.mounted.has(deviceName(facts.rdev)))
      return ['is mounted', 'Unmount it, and take it out of fstab: the inactive slot belongs to the agent.'];
  }
  if (sizeBytes < (twin?.sizeBytes ?? 0))
    return [
      `has ${sizeBytes} bytes, fewer than the ${twin?.sizeBytes} of the slot that runs`,
      'Make both slots of one size.',
    ];
  const writable = await access(path, constants.W_OK).then(
    () => true,
    () => false,
  );
  return writable ? undefined : ['cannot be written', 'Run as root, and take away what protects the medium.'];
}

async function isSame(path: string, facts: Stats, twin: Place): Promise<boolean> {
  if (facts.isBlockDevice() && facts.rdev === twin.facts?.rdev) return true;
  return (
    (await realpath(path)) === (await realpath(twin.path)) ||
    (facts.dev === twin.facts?.dev && facts.ino === twin.facts?.ino)
  );
}

/** As makedev(3) of glibc packs it. */
function deviceName(rdev: number): string {
  return `${(rdev >> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >> 12) & 0xfff00)}`;
}

async function blockDeviceBytes(rdev: number): Promise<number> {
  return 512 * Number(await readFile(`/sys/dev/block/${deviceName(rdev)}/size`, 'utf8'));
}

/** `major:minor` of everything mounted: third field of /proc/self/mountinfo (proc(5)). */
async function mountedDevices(): Promise<ReadonlySet<string>> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8').catch(() => '')).split('\n');
  return new Set(lines.map((line) => line.split(' ')[2] ?? ''));
}

type UBootConfig = Extract<BoardConfig, { kind: 'u-boot' }>;

async function checkUBoot(settings: UBootConfig, board: UBootBoard, disk: Disk): Promise<DoctorRow[]> {
  return [
    ...(await examine('boot-environment', () => checkCopies(settings))),
    ...(await examine('boot-canary', () => checkCanary(board))),
    ...(await examine('boot-defaults', () => checkDefaults(settings, disk))),
    ...(await examine('boot-good-slot', () => checkGoodSlot(settings, board, disk))),
  ];
}

async function checkCopies({ environmentConfig }: UBootConfig): Promise<DoctorRow[]> {
  const lines = (await readFile(environmentConfig, 'utf8')).split('\n').filter((line) => /^\s*[^#\s]/.test(line));
  if (lines.length !== 2) {
    return [
      missing(
        'boot-environment',
        `${environmentConfig} names ${lines.length} copies, not 2`,
        'Build U-Boot with CONFIG_SYS_REDUNDAND_ENVIRONMENT and name both copies.',
      ),
    ];
  }
  const damaged: string[] = [];
  for (const line of lines) if (!(await isWhole(line))) damaged.push(line.trim().split(/\s+/)[0] ?? '');
  if (damaged.length === 0) return [ok('boot-environment', 'two copies, both whole')];
  const row = damaged.length === 1 ? advice : missing;
  return [
    row(
      'boot-environment',
      `damaged: ${damaged.join(', ')}`,
      'The next change writes it again; if it comes back, the medium is failing.',
    ),
  ];
}

/** A copy is whole when fw_printenv reads it as both of two. */
async function isWhole(line: string): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-fw-'));
  try {
    const config = join(folder, 'config');
    await writeFile(config, `${line}\n${line}\n`);
    return (await runProgram('fw_printenv', ['-c', config, '-f', '/nonexistent'])).status === 0;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function checkCanary(board: UBootBoard): Promise<DoctorRow[]> {
  const { here, bootloader } = await board.canaries();
  if (here !== '' && here === bootloader) return [ok('boot-canary', 'bootloader and userspace see one environment')];
  const cure =
    here === '' ? 'Run doctor --self-test, which sets it, and reboot.' : 'Reboot; if it stays, correct fw_env.config.';
  return [missing('boot-canary', `here ${here || 'none'}, the bootloader read ${bootloader || 'none'}`, cure)];
}

async function checkDefaults({ defaultEnvironment }: UBootConfig, disk: Disk): Promise<DoctorRow[]> {
  const bytes = await readCapped(disk, defaultEnvironment, 256 * 1024);
  if (bytes instanceof Uint8Array && /^bootcmd=/m.test(new TextDecoder().decode(bytes)))
    return [ok('boot-defaults', defaultEnvironment)];
  return [
    missing(
      'boot-defaults',
      `${defaultEnvironment} holds no bootcmd: a damaged environment could not be made anew`,
      "Put u-boot-initial-env of U-Boot's build there.",
    ),
  ];
}

async function checkGoodSlot({ goodSlotFile }: UBootConfig, board: UBootBoard, disk: Disk): Promise<DoctorRow[]> {
  const { order } = await board.bootFlags();
  const text = new TextDecoder().decode((await disk.readFile(goodSlotFile, 64)) ?? new Uint8Array()).trim();
  if (order.some((slot) => text === `holdfast_good=${slot}`)) return [ok('boot-good-slot', text)];
  return [
    missing(
      'boot-good-slot',
      `${goodSlotFile} says "${text}"`,
      `Write holdfast_good=${order[0]} and a line end there, from the image.`,
    ),
  ];
}

async function checkAutoboot(path: string, disk: Disk): Promise<DoctorRow[]> {
  const bytes = await readCapped(disk, path, AUTOBOOT_BYTES);
  if (!(bytes instanceof Uint8Array))
    return [
      missing(
        'autoboot',
        `${path} is missing or longer than ${AUTOBOOT_BYTES} bytes`,
        'Write it as docs/BOARDS.md shows.',
      ),
    ];
  try {
    await access(path, constants.W_OK);
  } catch (error) {
    return [missing('autoboot', errorText(error), 'Mount the first partition for writing.')];
  }
  if (bytes.length === AUTOBOOT_BYTES) return [ok('autoboot', path)];
  return [
    advice(
      'autoboot',
      `${path} grows to ${AUTOBOOT_BYTES} bytes at the first update`,
      `Ship it with line ends up to ${AUTOBOOT_BYTES} bytes.`,
    ),
  ];
}
