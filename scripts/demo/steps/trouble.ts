/**
 * Step 8: things go wrong on purpose, in the middle of a good rollout, and everything ends where it should. Each trouble
 * is one row: what was done, whether devices and server say that it was overcome, and how long that took.
 */

import type { Process } from '../../../platform/processes.ts';
import { type DemoRun, deviceName } from '../demo-run.ts';
import { secondsSince } from '../patience.ts';
import { brokerDropsAll } from '../troubles/broker-drops.ts';
import { killedInWrite } from '../troubles/killed-in-write.ts';
import { lostCertificate } from '../troubles/lost-certificate.ts';
import { serverAwayInTrial, serverKilledInWave } from '../troubles/server-away.ts';
import { type FleetInTrouble, TROUBLE_LIMIT_MS } from '../troubles/trouble.ts';
import { devicesOn, followRollout, publish, startRollout } from './releases.ts';

const SEQUENCE = 4;

/** Makes a row of what `work` found out: undefined is good, a text says what was not. */
async function trouble(run: DemoRun, name: string, work: () => Promise<string | undefined>): Promise<void> {
  const startedMs = performance.now();
  const wrong = await work().catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
  const seconds = secondsSince(startedMs);
  run.recoveries.push({ trouble: name, ok: wrong === undefined, seconds });
  run.check(wrong === undefined, wrong === undefined ? `${name}: overcome after ${seconds} s` : `${name}: ${wrong}`);
}

export async function makeTrouble(run: DemoRun, server: Process): Promise<Process> {
  const fleet: FleetInTrouble = { server };
  const late = deviceName(run.options.devices + 1);
  await trouble(run, 'agent killed between issue and receipt of its certificate', () => lostCertificate(run, late));
  await trouble(run, 'broker drops every connection', () => brokerDropsAll(run, fleet, [...run.deviceIds, late]));
  run.deviceIds.push(late);
  const caughtUp = await run.until(TROUBLE_LIMIT_MS, 500, async () =>
    (await devicesOn(run, [late], '2.0.0')).length === 1 ? true : undefined,
  );
  run.check(caughtUp === true, `${late} came late and runs 2.0.0, like the others`);
  const version = '4.0.0';
  const releasePath = await publish(run, { version, sequence: SEQUENCE });
  // A wave for each trouble: one that is noticed late finds another.
  const rolloutId = await startRollout(run, releasePath, '1,2,3,100%', '3s');
  await trouble(run, 'agent killed in the middle of a write', () => killedInWrite(run, version));
  await trouble(run, 'server away during a trial', () => serverAwayInTrial(run, fleet, run.deviceIds, version));
  await trouble(run, 'server killed in the middle of a wave', () => serverKilledInWave(run, fleet, rolloutId));
  await nobodyQuarantined(run, version);
  const rollout = await followRollout(run, rolloutId, `rollout of ${version}`);
  run.check(
    rollout.state === 'complete',
    `the server says: ${rollout.state}, ${rollout.confirmed} of ${rollout.devices} confirmed (${rollout.reason})`,
  );
  const there = await devicesOn(run, run.deviceIds, version);
  run.check(there.length === run.deviceIds.length, `${there.length} devices say themselves: ${version}`);
  return fleet.server;
}

/** A server that was away says nothing of a release. */
async function nobodyQuarantined(run: DemoRun, version: string): Promise<void> {
  const refusing: string[] = [];
  for (const deviceId of run.deviceIds) {
    const { status } = await run.words.agent(run.devicePath(deviceId));
    if (status?.quarantined.some(({ sequence }) => sequence === SEQUENCE)) refusing.push(deviceId);
  }
  run.check(refusing.length === 0, `devices that quarantined ${version}: ${refusing.join(', ') || 'none'}`);
}
