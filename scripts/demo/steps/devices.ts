/** Step 3: devices leave the factory with a claim; and how they come up, each with a key of its own. */

import { X509Certificate } from 'node:crypto';
import { mkdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import type { Process } from '../../../platform/processes.ts';
import { PROJECT_DIRECTORY } from '../../images/demo-images.ts';
import { needProgram } from '../../programs.ts';
import { startProgress } from '../../progress.ts';
import { CHANNEL, type DemoRun, HARDWARE_CLASS, VENDOR } from '../demo-run.ts';
import { claimPath } from '../fleet-words.ts';
import { sayCommand, sayFact } from '../terminal.ts';
import { makeImages } from './releases.ts';

const ENROL_LIMIT_MS = 120_000;
const NODE = join(PROJECT_DIRECTORY, 'node_modules/.bin/node');
const shown = (args: readonly string[]): string[] => ['node', ...args];

/** Makes one device's folder, as a factory writes a card. */
export async function makeDevice(
  run: DemoRun,
  deviceId: string,
  endpoints = run.path('server/endpoints.json'),
): Promise<void> {
  const args = [
    'scripts/emulator/make-device.ts',
    '--dir',
    run.devicePath(deviceId),
    '--images',
    run.path('images/1.0.0'),
  ];
  args.push('--version', '1.0.0', '--sequence', '1', '--claim', claimPath(run.path('claims'), deviceId));
  args.push(
    '--root',
    run.path('ceremony/public/1.root.json'),
    '--endpoints',
    endpoints,
    '--vendor',
    VENDOR,
    '--channel',
    CHANNEL,
  );
  sayCommand(shown(args));
  await needProgram(NODE, args, { cwd: PROJECT_DIRECTORY });
}

export function powerOn(run: DemoRun, name: string, deviceIds: readonly string[]): Process {
  const args = ['scripts/emulator/main.ts', ...deviceIds.map((id) => run.devicePath(id))];
  sayCommand(deviceIds.length > 2 ? shown([...args.slice(0, 2), '…', args.at(-1) ?? '']) : shown(args));
  const script = args.map((word, index) => (index === 0 ? join(PROJECT_DIRECTORY, word) : word));
  return run.processes.start({ name, file: NODE, args: script, logFile: run.path(`${name}.log`) });
}

/** What `holdfast image lint` calls what the factory left in the image. */
const FACTORY_FINDINGS = ['password-default', 'host-key', 'machine-id', 'authorized-keys'];
const Lint = v.object({ findings: v.array(v.object({ code: v.string() })) });

/** Nothing is powered yet. */
export async function leaveFactory(run: DemoRun): Promise<void> {
  await makeImages(run, { version: '1.0.0', sequence: 1 });
  const words = ['image', 'lint', run.path('images/1.0.0/rootfs.img')];
  const { findings } = v.parse(Lint, await run.words.holdfast(words, { alsoStatus: [4] }));
  const found = FACTORY_FINDINGS.filter((code) => findings.some((finding) => finding.code === code));
  run.check(
    found.length === FACTORY_FINDINGS.length,
    `the same secrets of the factory in every device: ${found.join(', ')}`,
  );
  await run.words.claims(HARDWARE_CLASS, run.deviceIds, run.path('claims'));
  await mkdir(run.path('devices'), { mode: 0o700 });
  for (const deviceId of run.deviceIds) await makeDevice(run, deviceId);
}

/** Power on: the first boot, then enrolment. */
export async function comeUp(run: DemoRun): Promise<void> {
  powerOn(run, 'emulator', run.deviceIds);
  const progress = startProgress('devices enrol', run.deviceIds.length);
  let enrolled = 0;
  const all = await run.until(ENROL_LIMIT_MS, 500, async () => {
    const devices = (await run.words.devices()).filter(({ deviceId }) => run.deviceIds.includes(deviceId));
    enrolled = devices.filter(
      ({ enrolment, online, installed, credentials }) =>
        enrolment === 'enrolled' && online && installed !== null && credentials === 'proven',
    ).length;
    progress.update(enrolled);
    return enrolled === run.deviceIds.length ? devices : undefined;
  });
  progress.end();
  run.check(
    all !== undefined,
    `the server says: ${enrolled} of ${run.deviceIds.length} devices enrolled, online over MQTT, free of factory secrets`,
  );
  if (all === undefined) throw new Error('not all devices enrolled with secrets of their own');
  run.check(
    all.every(({ installed }) => installed?.version === '1.0.0'),
    'each reports 1.0.0',
  );
  await checkIdentities(run);
}

/** Each device made its own key, and nobody else can read it. */
async function checkIdentities(run: DemoRun): Promise<void> {
  const keys = new Set<string>();
  let closed = true;
  for (const deviceId of run.deviceIds) {
    const identity = join(run.devicePath(deviceId), 'data/identity');
    const certificate = new X509Certificate(await readFile(join(identity, 'device.crt')));
    keys.add(certificate.publicKey.export({ type: 'spki', format: 'der' }).toString('hex'));
    closed = closed && ((await stat(join(identity, 'device.key'))).mode & 0o777) === 0o600;
  }
  run.check(keys.size === run.deviceIds.length && closed, `${keys.size} different keys, made on the devices, 0600`);
  sayFact('the claim secrets were proven, never sent');
}
