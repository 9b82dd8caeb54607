/**
 * RAUC from Debian's package: its service on a message bus of its own, and `rauc install`, as on a device. Slots are raw,
 * the bootloader is a handler that does nothing, keyring and bundle are made here.
 *
 * Memory is the service's; CPU is service and client together; the message bus is not counted.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, link, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { needProgram, runProgram } from '../../../scripts/programs.ts';
import { measureProgram, parseTime, type Usage, underTime } from '../usage.ts';
import { missing } from './packages.ts';
import type { SigningKey } from './signing-key.ts';
import type { InstallSubject, MissingSubject } from './subject.ts';

export interface RaucWish {
  readonly format: 'plain' | 'verity';
  readonly compressor: 'gzip' | 'zstd';
}

const HANDLER = `#!/bin/sh
case "$1" in get-primary | get-current) echo a ;; get-state) echo good ;; esac
`;
const LOOKS = 200;
const LOOK_EVERY_MS = 50;

export async function raucSubject(
  parent: string,
  image: string,
  slot: string,
  key: SigningKey,
  { format, compressor }: RaucWish,
): Promise<InstallSubject | MissingSubject> {
  const name = `rauc install, ${format} bundle, ${compressor}`;
  const why = missing('rauc', 'dbus-daemon', 'dbus-bin', 'squashfs-tools') ?? whyNoVerity(format);
  if (why !== undefined) return { name, why };
  const folder = join(parent, `rauc-${format}-${compressor}`);
  const bundle = await makeBundle(folder, image, key, { format, compressor });
  await writeSettings(folder, slot, key);
  return { name, writes: true, run: (env) => install(folder, bundle, env) };
}

function whyNoVerity(format: RaucWish['format']): string | undefined {
  if (format !== 'verity' || readFileSync('/proc/misc', 'utf8').includes('device-mapper')) return undefined;
  return 'the kernel has no device mapper, which a bundle of this format is read through';
}

async function makeBundle(
  folder: string,
  image: string,
  { keyFile, certificateFile }: SigningKey,
  { format, compressor }: RaucWish,
): Promise<string> {
  const content = join(folder, 'content');
  await mkdir(content, { recursive: true });
  // Some file systems link nothing across: a copy does as well.
  await link(image, join(content, 'rootfs.img')).catch(() => needProgram('cp', [image, join(content, 'rootfs.img')]));
  const manifest = `[update]\ncompatible=acme-cam\nversion=2\n[bundle]\nformat=${format}\n[image.rootfs]\nfilename=rootfs.img\n`;
  await writeFile(join(content, 'manifest.raucm'), manifest);
  const bundle = join(folder, 'bundle.raucb');
  const signing = ['--cert', certificateFile, '--key', keyFile, `--mksquashfs-args=-comp ${compressor}`];
  await needProgram('rauc', ['bundle', ...signing, content, bundle]);
  await rm(content, { recursive: true });
  return bundle;
}

async function writeSettings(folder: string, slot: string, { certificateFile }: SigningKey): Promise<void> {
  const handler = join(folder, 'bootloader');
  await writeFile(handler, HANDLER);
  await chmod(handler, 0o755);
  await mkdir(join(folder, 'mnt'));
  await writeFile(join(folder, 'active'), '');
  await writeFile(
    join(folder, 'system.conf'),
    `[system]
compatible=acme-cam
bootloader=custom
mountprefix=${folder}/mnt
statusfile=${folder}/status
[handlers]
bootloader-custom-backend=${handler}
[keyring]
path=${certificateFile}
[slot.rootfs.0]
device=${folder}/active
type=raw
bootname=a
[slot.rootfs.1]
device=${slot}
type=raw
bootname=b
`,
  );
}

const busSettings = (place: string): string =>
  `<busconfig><listen>unix:path=${place}/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>
`;

async function install(folder: string, bundle: string, extra: Readonly<Record<string, string>>): Promise<Usage> {
  // A socket's path is short, wherever images are kept.
  const place = await mkdtemp(join(tmpdir(), 'holdfast-bus-'));
  const env = { ...extra, DBUS_SYSTEM_BUS_ADDRESS: `unix:path=${place}/bus` };
  await writeFile(join(place, 'bus.conf'), busSettings(place));
  const bus = spawn('dbus-daemon', [`--config-file=${place}/bus.conf`, '--nofork'], { stdio: 'ignore' });
  try {
    await waitFor('the message bus', () => existsSync(join(place, 'bus')));
    const service = startService(folder, env);
    let client: Usage;
    try {
      await waitFor("rauc's service", () => isOnBus(env));
      client = await measureProgram(['rauc', '-c', join(folder, 'system.conf'), 'install', bundle], { env });
    } finally {
      await endService(service);
    }
    const used = parseTime(await readFile(join(folder, 'time'), 'utf8'));
    return { wallS: client.wallS, cpuS: client.cpuS + used.cpuS, peakMb: used.peakMb };
  } finally {
    await end(bus);
    await rm(place, { recursive: true });
  }
}

function startService(folder: string, env: Readonly<Record<string, string>>): ChildProcess {
  const rauc = ['rauc', '-c', join(folder, 'system.conf'), '--override-boot-slot=a', 'service'] as const;
  const [file, ...args] = underTime(rauc, join(folder, 'time'));
  return spawn(file, args, { stdio: 'ignore', env: { ...process.env, ...env } });
}

/** time(1) goes on until rauc ends; it is rauc that is asked to. */
async function endService(service: ChildProcess): Promise<void> {
  if (service.exitCode !== null || service.pid === undefined) return;
  const children = readFileSync(`/proc/${service.pid}/task/${service.pid}/children`, 'utf8').trim();
  for (const child of children.split(' ').filter(Boolean)) process.kill(Number(child), 'SIGTERM');
  await once(service, 'exit');
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  child.kill('SIGTERM');
  await once(child, 'exit');
}

async function isOnBus(env: Readonly<Record<string, string>>): Promise<boolean> {
  const asked = ['--system', '--print-reply', '--dest=org.freedesktop.DBus', '/org/freedesktop/DBus'];
  const method = ['org.freedesktop.DBus.NameHasOwner', 'string:de.pengutronix.rauc'];
  const { stdout } = await runProgram('dbus-send', [...asked, ...method], { env });
  return stdout.includes('true');
}

async function waitFor(what: string, isThere: () => boolean | Promise<boolean>): Promise<void> {
  for (let look = 0; look < LOOKS; look += 1) {
    if (await isThere()) return;
    await pause(LOOK_EVERY_MS);
  }
  throw new Error(`${what} did not come up`);
}
