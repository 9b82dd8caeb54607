/** The server killed and started again: during a trial, which must not fail for it, and in the middle of a wave. */
import { nodeDisk } from '../../../platform/disk.ts';
import { readBootEnv } from '../../../platform/emulated-boot-env.ts';
import type { DemoRun } from '../demo-run.ts';
import { bootedFacts } from '../fleet-words.ts';
import { devicesOn, followRollout } from '../steps/releases.ts';
import { startServer } from '../steps/server.ts';
import { sayFact } from '../terminal.ts';
import { type FleetInTrouble, TROUBLE_LIMIT_MS } from './trouble.ts';

/** How long the server stays away once the trial has booted: longer than a trial takes when nothing is wrong. */
const AWAY_MS = 4000;

export async function serverAwayInTrial(
  run: DemoRun,
  fleet: FleetInTrouble,
  deviceIds: readonly string[],
  version: string,
): Promise<string | undefined> {
  const found = await run.until(TROUBLE_LIMIT_MS, 5, async () => {
    for (const deviceId of deviceIds) {
      // Read first: the boot before the trial's, however soon that follows.
      const before = (await bootedFacts(run.devicePath(deviceId)))?.bootId;
      const env = await readBootEnv(nodeDisk, run.devicePath(deviceId));
      if (env?.trial) return { armed: deviceId, before };
    }
    return undefined;
  });
  if (found === undefined) return 'no device armed a trial';
  const { armed, before } = found;
  await fleet.server.kill();
  sayFact(`${armed} is armed: the server is killed, until ${AWAY_MS / 1000} s after the trial has booted`);
  const booted = await run.until(TROUBLE_LIMIT_MS, 50, async () => {
    const facts = await bootedFacts(run.devicePath(armed));
    return facts?.trial === true && facts.bootId !== before ? facts : undefined;
  });
  if (booted !== undefined) await new Promise((resolve) => setTimeout(resolve, AWAY_MS));
  const { status } = await run.words.agent(run.devicePath(armed));
  fleet.server = (await startServer(run, false)).server;
  if (booted === undefined) return `${armed} did not boot its trial while the server was away`;
  sayFact(`without a server ${armed} booted its trial and says: ${status?.state ?? 'nothing'}`);
  const there = await run.until(TROUBLE_LIMIT_MS, 500, async () =>
    (await devicesOn(run, [armed], version)).length === 1 ? true : undefined,
  );
  return there === true ? undefined : `${armed} did not get to ${version}`;
}

export async function serverKilledInWave(
  run: DemoRun,
  fleet: FleetInTrouble,
  rolloutId: string,
): Promise<string | undefined> {
  const inWave = await run.until(TROUBLE_LIMIT_MS, 200, async () => {
    const { waves, state } = await run.words.rollout(rolloutId);
    if (state !== 'running') return { open: undefined };
    const last = waves.at(-1);
    const started = last?.state === 'open' && last.offered > 0 && last.confirmed < last.devices;
    return started ? { open: last } : undefined;
  });
  if (inWave?.open === undefined) return 'the last wave was not seen open';
  const { confirmed, devices } = inWave.open;
  await fleet.server.kill();
  sayFact(`the server is killed with ${confirmed} of ${devices} confirmed`);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  fleet.server = (await startServer(run, false)).server;
  const rollout = await followRollout(run, rolloutId, 'the wave goes on');
  return rollout.state === 'complete' ? undefined : `the rollout is ${rollout.state}: ${rollout.reason}`;
}
