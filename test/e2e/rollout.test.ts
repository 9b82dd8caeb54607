import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attackEverything } from '../../scripts/demo/steps/attack-step.ts';
import { leaveFactory } from '../../scripts/demo/steps/devices.ts';
import { firstBoot } from '../../scripts/demo/steps/first-boot.ts';
import { badRelease, goodRelease } from '../../scripts/demo/steps/releases.ts';
import { makeTrouble } from '../../scripts/demo/steps/trouble.ts';
import { type Fleet, fleetWithServer } from './fleet.ts';

let fleet: Fleet;

beforeAll(async () => {
  fleet = await fleetWithServer(3);
});
afterAll(() => fleet?.close());

/** Guards against a hang: the steps have limits of their own, and say what was missed. */
const HANG_MS = 10 * 60_000;

describe('a fleet of real agents against a real server', { timeout: HANG_MS }, () => {
  it('leaves its factory with the same secrets in each device', async () => {
    expect(await fleet.step('devices', leaveFactory)).toEqual([]);
  });

  it('replaces them before anything opens, enrols and proves it, rotates when asked, and lets its owner in', async () => {
    expect(await fleet.step('first boot', firstBoot)).toEqual([]);
  });

  it('installs a good release wave by wave, each opened by confirmed boots', async () => {
    expect(await fleet.step('good release', goodRelease)).toEqual([]);
  });

  it('halts a release whose health check fails: the canary goes back, nobody else takes it', async () => {
    expect(await fleet.step('bad release', badRelease)).toEqual([]);
  });

  it('explains, for each device, why it is not on the halted release', async () => {
    const reasons: Record<string, number> = {};
    for (const deviceId of fleet.run.deviceIds) {
      const { explanation } = await fleet.run.words.device(deviceId);
      reasons[explanation.reason] = (reasons[explanation.reason] ?? 0) + 1;
      expect(explanation.cure).not.toBe('');
    }
    expect(reasons).toEqual({ 'rolled-back': 1, 'rollout-halted': 2 });
  });

  it('writes every action of the operator into the chained audit log', async () => {
    const actions = new Set((await fleet.run.words.audit(500)).map(({ action }) => action));
    expect(actions.size).toBeGreaterThan(4);
    expect(await fleet.run.words.holdfast(['audit', 'verify'], { quiet: true })).toMatchObject({ ok: true });
  });

  it('refuses every attack of the table, each with its own code, and accepts each unchanged twin', async () => {
    const releasePath = 'releases/acme-cam/stable/2/release.suit';
    expect(await fleet.step('attacks', (run) => attackEverything(run, releasePath))).toEqual([]);
    expect(fleet.run.refusals.length).toBeGreaterThanOrEqual(20);
    expect(fleet.run.refusals.filter(({ code, twinAccepted }) => code === '' || !twinAccepted)).toEqual([]);
  });

  it('overcomes killed agents, a killed server and a broker that drops everybody, in the middle of a good rollout', async () => {
    const { server } = fleet;
    if (server === undefined) throw new Error('the fleet has no server');
    expect(await fleet.step('trouble', (run) => makeTrouble(run, server))).toEqual([]);
    expect(fleet.run.recoveries.filter(({ ok }) => !ok)).toEqual([]);
  });
});
