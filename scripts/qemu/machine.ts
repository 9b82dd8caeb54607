/**
 * One emulated board: QEMU's `virt` with a Cortex-A72, stock U-Boot, a disk, a network that leads to this machine's
 * loopback and nowhere else, and a watchdog that resets. Power is cut by ending QEMU at once.
 *
 * Invariants: a disk is always an overlay of its own; what lies below it is never written. Nothing is ended but the
 * process that was started here.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { EXIT, Fault } from '../../platform/fault.ts';
import { askUntil } from '../demo/patience.ts';
import { type Accelerator, boardWords, EMULATOR } from '../device-image/board.ts';
import type { BoardFirmware } from '../device-image/verified-boot.ts';
import { needProgram } from '../programs.ts';
import { Qmp } from './qmp.ts';
import { type SerialLine, SerialLog } from './serial-log.ts';

const RESTORE_LIMIT_MS = 120_000;

export interface MachineRequest {
  readonly name: string;
  /** A qcow2 file (makeOverlay); written. */
  readonly disk: string;
  /** Its console is appended here. */
  readonly serialFile: string;
  readonly onLine: (line: SerialLine) => void;
  readonly accelerator: Accelerator;
  /** A state that `save` made, to go on from. */
  readonly from?: string;
  /** What the board's clock says at power on, ISO 8601 in UTC; else the time it is. */
  readonly clock?: string;
  /** A raw image, in a USB stick that is plugged in. */
  readonly stick?: string;
  /** Everything that is given to the disk is recorded here (write-log.ts); the file must exist. */
  readonly writeLog?: string;
  /** What a verified boot starts from; else U-Boot has the emulator's device tree and an empty flash. */
  readonly firmware?: BoardFirmware | undefined;
  /** No network card at all. */
  readonly offline?: boolean;
  /** Ports of this machine's loopback that lead to the device's own over its first card. */
  readonly doors?: readonly Door[];
  /** Four more serial lines, ttyS0 to ttyS3: sockets at these paths, whose other ends are made at power on. */
  readonly consoles?: readonly string[];
  /** A second card, whose other end is somebody at a socket (wire/knocker.ts); what either card carries is recorded. */
  readonly wire?: WirePlug;
}

export interface Door {
  readonly hostPort: number;
  readonly devicePort: number;
}

export interface WirePlug {
  /** Of whoever is at the other end, and listens there before power on. */
  readonly socket: string;
  readonly mac: string;
  /** pcap files: made anew at power on. */
  readonly wireRecording: string;
  readonly serverRecording: string;
  /** On this machine's loopback: leads to the device's sshd over its first card. */
  readonly sshPort: number;
}

/** A disk that begins as `base` and keeps what is written for itself. */
export async function makeOverlay(path: string, base: string, format: 'raw' | 'qcow2'): Promise<void> {
  await rm(path, { force: true });
  await needProgram('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', format, path]);
}

export class Machine {
  readonly name: string;
  readonly serial: SerialLog;
  readonly #child: ChildProcessByStdio<null, Readable, Readable>;
  readonly #socket: string;
  readonly #ended: Promise<unknown>;
  #complaints = '';

  private constructor(request: MachineRequest, child: ChildProcessByStdio<null, Readable, Readable>, socket: string) {
    this.name = request.name;
    this.#child = child;
    this.#socket = socket;
    this.serial = new SerialLog(child.stdout, request.serialFile, request.onLine);
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#complaints = (this.#complaints + text).slice(-4000);
    });
    this.#ended = once(child, 'exit');
  }

  /** Power on. */
  static async start(request: MachineRequest): Promise<Machine> {
    // A socket's path may have 107 bytes at most, and a run's folder can lie deep.
    const socket = join(tmpdir(), `holdfast-qmp-${randomBytes(6).toString('hex')}`);
    const child = spawn(EMULATOR, wordsOf(request, socket), { stdio: ['ignore', 'pipe', 'pipe'] });
    // An interrupted run may be starting one at the moment in which it ends.
    const endWithUs = (): void => void child.kill('SIGKILL');
    process.once('exit', endWithUs);
    child.once('exit', () => process.off('exit', endWithUs));
    await Promise.race([once(child, 'spawn'), once(child, 'error').then(([error]) => Promise.reject(missing(error)))]);
    return new Machine(request, child, socket);
  }

  get isOn(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** What QEMU itself said on its standard error. */
  get complaints(): string {
    return this.#complaints.trim();
  }

  /**
   * Resolves once a saved state is the machine's own, disk and memory: QEMU answers nobody before. Until then the disk is
   * still that of the last run.
   */
  async restored(): Promise<void> {
    const answer = await askUntil(RESTORE_LIMIT_MS, 20, async () => {
      if (!this.isOn) throw new Error(`${this.name} went off before it went on: ${this.complaints}`);
      return this.#tell((qmp) => qmp.command('query-status')).catch(() => undefined);
    });
    if (answer === undefined) throw new Error(`${this.name} did not go on within ${RESTORE_LIMIT_MS / 1000} s`);
  }

  /** Keeps memory and disk under a name, in the disk's file. */
  save(name: string): Promise<void> {
    return this.#tell((qmp) => qmp.monitor(`savevm ${name}`));
  }

  /** Changes bytes of the disk behind the board's back, as a bad card does. */
  async alterDisk(offsetBytes: number, sizeBytes: number): Promise<void> {
    const line = `qemu-io disk "write -P 0xa5 ${offsetBytes} ${sizeBytes}"`;
    // Not `monitor`: it says how fast it wrote.
    await this.#tell((qmp) => qmp.command('human-monitor-command', { 'command-line': line }));
  }

  /** Nothing of it goes on, its clock included, while `work` is done outside. */
  async whilePaused<T>(work: () => Promise<T>): Promise<T> {
    await this.#tell((qmp) => qmp.command('stop'));
    try {
      return await work();
    } finally {
      await this.#tell((qmp) => qmp.command('cont'));
    }
  }

  /** QEMU ends by itself: what it had not written to its own files yet, it writes. */
  async quit(): Promise<void> {
    await this.#tell((qmp) => qmp.command('quit'));
    await this.#ended;
    await rm(this.#socket, { force: true });
  }

  /** The power is gone, in the middle of whatever was under way. Resolves when QEMU is. */
  async cutPower(): Promise<void> {
    if (this.isOn) this.#child.kill('SIGKILL');
    await this.#ended;
    await rm(this.#socket, { force: true });
  }

  async #tell<T>(work: (qmp: Qmp) => Promise<T>): Promise<T> {
    const qmp = await Qmp.connect(this.#socket);
    try {
      return await work(qmp);
    } finally {
      qmp.close();
    }
  }
}

function wordsOf(
  { disk, accelerator, from, clock, stick, offline, writeLog, firmware, wire, doors, consoles }: MachineRequest,
  socket: string,
): string[] {
  return [
    ...boardWords(accelerator),
    ...(firmware === undefined ? [] : firmwareWords(firmware)),
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...['-qmp', `unix:${socket},server=on,wait=off`],
    ...diskWords(disk, writeLog),
    // This machine's loopback is 10.0.2.2 there. The device has no other route.
    ...(offline === true ? [] : ['-netdev', serverCard(wire, doors), '-device', 'virtio-net-pci,netdev=net,romfile=']),
    ...(wire === undefined ? [] : wireWords(wire)),
    ...(consoles === undefined ? [] : consoleWords(consoles)),
    ...['-device', 'virtio-rng-pci', '-device', 'i6300esb', '-action', 'watchdog=reset'],
    ...(clock === undefined ? [] : ['-rtc', `base=${clock}`]),
    ...(from === undefined ? [] : ['-loadvm', from]),
    ...(stick === undefined ? [] : ['-drive', `file=${stick},if=none,id=stick,format=raw`, '-device', 'qemu-xhci']),
    ...(stick === undefined ? [] : ['-device', 'usb-storage,drive=stick']),
  ];
}

function serverCard(wire: WirePlug | undefined, doors: readonly Door[] = []): string {
  const all = wire === undefined ? doors : [...doors, { hostPort: wire.sshPort, devicePort: 22 }];
  const forwards = all.map(({ hostPort, devicePort }) => `,hostfwd=tcp:127.0.0.1:${hostPort}-:${devicePort}`);
  return `user,id=net,ipv6=off${forwards.join('')}`;
}

/** A card with four serial ports; whoever is connected types. */
function consoleWords(paths: readonly string[]): string[] {
  const ends = paths.flatMap((path, at) => ['-chardev', `socket,id=console-${at},path=${path},server=on,wait=off`]);
  return [...ends, '-device', ['pci-serial-4x', ...paths.map((_, at) => `chardev${at + 1}=console-${at}`)].join(',')];
}

/** Recorded from the moment that there is a machine: before it has run its first instruction. */
function wireWords({ socket, mac, wireRecording, serverRecording }: WirePlug): string[] {
  return [
    ...['-netdev', `stream,id=wire,server=off,addr.type=unix,addr.path=${socket}`],
    ...['-device', `virtio-net-pci,netdev=wire,mac=${mac},romfile=`],
    ...['-object', `filter-dump,id=wire-recording,netdev=wire,file=${wireRecording}`],
    ...['-object', `filter-dump,id=server-recording,netdev=net,file=${serverRecording}`],
  ];
}

function firmwareWords({ deviceTree, flash }: BoardFirmware): string[] {
  return ['-dtb', deviceTree, '-drive', `file=${flash},if=pflash,unit=1,format=raw,readonly=on`];
}

function diskWords(disk: string, writeLog: string | undefined): string[] {
  const device = ['-device', 'virtio-blk-pci,drive=disk'];
  if (writeLog === undefined) {
    return ['-drive', `file=${disk},if=none,id=disk,format=qcow2,cache=writeback`, ...device];
  }
  const below = { driver: 'qcow2', 'node-name': 'below', file: { driver: 'file', filename: disk } };
  const log = { driver: 'file', filename: writeLog };
  const recorded = { driver: 'blklogwrites', 'node-name': 'disk', file: 'below', log, 'log-sector-size': 512 };
  return ['-blockdev', JSON.stringify(below), '-blockdev', JSON.stringify(recorded), ...device];
}

function missing(error: unknown): Fault {
  return new Fault({
    code: 'emulator-missing',
    what: 'QEMU could not be started',
    where: EMULATOR,
    cure: 'npm run qemu -- --prepare',
    exitStatus: EXIT.environment,
    cause: error,
  });
}
