/** Steps 5 and 6: releases are built, signed by an author and two people, published, and rolled out in waves. */
import { mkdir } from 'node:fs/promises';
import * as v from 'valibot';
import { bytesFetched } from '../../../protocol/bytes-fetched.ts';
import type { RolloutView } from '../../../protocol/operator-api.ts';
import { BUILT_BUNDLES, makeDemoImages } from '../../images/demo-images.ts';
import { startProgress } from '../../progress.ts';
import { CHANNEL, type DemoRun, HARDWARE_CLASS, VENDOR } from '../demo-run.ts';
import { bootedFacts } from '../fleet-words.ts';
import { sayCommand, sayFact } from '../terminal.ts';

const ROLLOUT_LIMIT_MS = 300_000;
export const DEMO_WAVES = '1,25%,100%';

export interface DemoRelease {
  readonly version: string;
  readonly sequence: number;
  readonly brokenApp?: boolean;
}

/** Makes boot.img and rootfs.img of a version. */
export async function makeImages(run: DemoRun, release: DemoRelease): Promise<void> {
  const { version, sequence, brokenApp = false } = release;
  const outDirectory = run.path('images', version);
  sayCommand(
    [
      'node',
      'scripts/images/main.ts',
      '--version',
      version,
      '--sequence',
      String(sequence),
      '--out',
      outDirectory,
    ].concat(brokenApp ? ['--broken-app'] : []),
  );
  const progress = startProgress(`images of ${version}`, 1);
  await makeDemoImages({
    version,
    sequence,
    outDirectory,
    brokenApp,
    rootfsMib: run.options.rootfsMib,
    bootMib: 4,
    ...BUILT_BUNDLES,
    onProgress: progress.update,
  });
  progress.end();
}

/** Builds, signs and publishes; returns the release's path. */
export async function publish(run: DemoRun, release: DemoRelease): Promise<string> {
  const { version, sequence } = release;
  await makeImages(run, release);
  const holdfast = (words: readonly string[]): Promise<unknown> => run.words.holdfast(words);
  const folder = run.path('releases', version);
  await mkdir(run.path('releases'), { recursive: true, mode: 0o700 });
  const names = ['--vendor', VENDOR, '--class', HARDWARE_CLASS, '--channel', CHANNEL, '--version', version];
  const images = ['boot', 'rootfs'].flatMap((name) => [
    '--image',
    `${name}=${run.path('images', version, `${name}.img`)}`,
  ]);
  await holdfast([
    'release',
    'build',
    ...names,
    '--sequence',
    String(sequence),
    ...images,
    '--server',
    '--out',
    folder,
  ]);
  for (const key of [`author-${HARDWARE_CLASS}/author.key`, 'person-1/targets.key', 'person-2/targets.key']) {
    await holdfast([
      'release',
      'sign',
      folder,
      '--key',
      run.path('ceremony', key),
      '--passphrase-file',
      run.path('passphrase.txt'),
    ]);
  }
  const said = v.parse(
    v.object({ releasePath: v.string(), targetsVersion: v.number() }),
    await holdfast(['release', 'publish', folder]),
  );
  sayFact(`published: ${said.releasePath}, targets version ${said.targetsVersion}`);
  return said.releasePath;
}

/** `soak`: how long a wave stands before the next opens. Returns the rollout's id. */
export async function startRollout(run: DemoRun, releasePath: string, waves: string, soak = '0s'): Promise<string> {
  const pace = ['--waves', waves, '--soak', soak, '--timeout', '5m'];
  const said = await run.words.holdfast(['rollout', 'start', releasePath, ...pace]);
  return v.parse(v.object({ rollout: v.object({ rolloutId: v.string() }) }), said).rollout.rolloutId;
}

const OVER: readonly string[] = ['complete', 'halted', 'cancelled'];

/** Follows a rollout to its end, or to the limit. A server that is away is asked again. */
export async function followRollout(run: DemoRun, rolloutId: string, label: string): Promise<RolloutView> {
  sayCommand(['bin/holdfast', 'rollout', 'watch', rolloutId]);
  const progress = startProgress(label, 1);
  let last: RolloutView | undefined;
  const ended = await run.until(ROLLOUT_LIMIT_MS, 700, async () => {
    last = (await run.words.rollout(rolloutId).catch(() => undefined)) ?? last;
    if (last !== undefined) progress.update((last.confirmed + last.failed) / Math.max(last.devices, 1));
    return last !== undefined && OVER.includes(last.state) ? last : undefined;
  });
  progress.end();
  if (ended !== undefined) return ended;
  throw new Error(
    `rollout ${rolloutId} did not end within ${ROLLOUT_LIMIT_MS / 1000} s: ${last?.state ?? 'no answer'} (${last?.reason ?? ''})`,
  );
}

/** Devices that say themselves that they run `version` out of the slot that the bootloader booted, idle, confirmed. */
export async function devicesOn(run: DemoRun, deviceIds: readonly string[], version: string): Promise<string[]> {
  const there: string[] = [];
  for (const deviceId of deviceIds) {
    const settled = await run.until(10_000, 300, async () => {
      const { running, status } = await run.words.agent(run.devicePath(deviceId));
      const booted = await bootedFacts(run.devicePath(deviceId));
      const good =
        running &&
        status?.installed.version === version &&
        status.state === 'idle' &&
        status.bootedSlot === booted?.slot;
      return good ? true : undefined;
    });
    if (settled === true) there.push(deviceId);
  }
  return there;
}

/** What the devices say they fetched for the update that they took last; the rest was made from what they had. */
async function sayBytesFetched(run: DemoRun): Promise<void> {
  const sums = { fetched: 0, images: 0 };
  let told = 0;
  for (const deviceId of run.deviceIds) {
    const { history } = await run.words.device(deviceId);
    const found = bytesFetched(history.map(({ text }) => text));
    if (found === undefined) continue;
    told += 1;
    sums.fetched += found.fetched;
    sums.images += found.images;
  }
  run.check(told === run.deviceIds.length, `${told} devices say what they fetched`);
  const percent = ((100 * sums.fetched) / Math.max(sums.images, 1)).toFixed(1);
  sayFact(`fetched ${sums.fetched} of ${sums.images} bytes of images in all: ${percent} %`);
}

export async function goodRelease(run: DemoRun): Promise<string> {
  const releasePath = await publish(run, { version: '2.0.0', sequence: 2 });
  const rollout = await followRollout(run, await startRollout(run, releasePath, DEMO_WAVES), 'rollout of 2.0.0');
  run.check(
    rollout.state === 'complete',
    `the server says: ${rollout.state}, ${rollout.confirmed} of ${rollout.devices} confirmed their boot (${rollout.reason})`,
  );
  if (rollout.state !== 'complete') throw new Error('the steps after this one build on a fleet that runs 2.0.0');
  const waves = rollout.waves.map((wave) => `${wave.confirmed}/${wave.devices}`).join(' → ');
  run.check(
    rollout.waves.every(({ state }) => state === 'passed'),
    `waves, each opened by confirmed boots: ${waves}`,
  );
  const there = await devicesOn(run, run.deviceIds, '2.0.0');
  run.check(
    there.length === run.deviceIds.length,
    `${there.length} devices say themselves: 2.0.0, out of the slot that was booted`,
  );
  await sayBytesFetched(run);
  return releasePath;
}

export async function badRelease(run: DemoRun): Promise<void> {
  const releasePath = await publish(run, { version: '3.0.0', sequence: 3, brokenApp: true });
  const rollout = await followRollout(run, await startRollout(run, releasePath, DEMO_WAVES), 'rollout of 3.0.0');
  run.check(rollout.state === 'halted' && rollout.reason !== '', `the rollout halted by itself: ${rollout.reason}`);
  const { confirmed, failed, neverStarted } = rollout;
  run.check(
    confirmed === 0 && failed === 1 && neverStarted === rollout.devices - 1,
    `${failed} device tried it, ${neverStarted} never started`,
  );
  const there = await devicesOn(run, run.deviceIds, '2.0.0');
  run.check(there.length === run.deviceIds.length, `${there.length} devices say themselves: 2.0.0`);
  const refusing: string[] = [];
  for (const deviceId of run.deviceIds) {
    const { status } = await run.words.agent(run.devicePath(deviceId));
    const quarantined = status?.quarantined.find(({ sequence }) => sequence === 3);
    if (quarantined !== undefined) refusing.push(`${deviceId} (${quarantined.reason})`);
  }
  run.check(
    refusing.length === 1,
    `the canary went back by itself and will not take it again: ${refusing.join(', ') || 'nobody'}`,
  );
}
