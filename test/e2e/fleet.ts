/**
 * A small fleet for end-to-end tests: the demo's own steps, with few devices and small images. What a step finds wrong
 * is read from the run, as the demo's report reads it.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Process } from '../../platform/processes.ts';
import { DemoRun } from '../../scripts/demo/demo-run.ts';
import { freePorts } from '../../scripts/demo/free-ports.ts';
import { holdCeremony } from '../../scripts/demo/steps/ceremony.ts';
import { comeUp, leaveFactory } from '../../scripts/demo/steps/devices.ts';
import { openServer } from '../../scripts/demo/steps/server.ts';
import { beQuiet } from '../../scripts/demo/terminal.ts';

export const SMALL_ROOTFS_MIB = 8;

export interface Fleet {
  readonly run: DemoRun;
  /** As it was started; undefined before that. */
  server?: Process;
  /** Runs one step; returns what it found wrong. */
  step(title: string, work: (run: DemoRun) => Promise<unknown>): Promise<readonly string[]>;
  close(): Promise<void>;
}

/** A run with nothing in it yet. */
export async function emptyFleet(devices: number): Promise<Fleet> {
  beQuiet();
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-e2e-'));
  const [device = 0, operator = 0, mqtt = 0] = await freePorts(3);
  const options = {
    devices,
    jsonFile: undefined,
    keep: false,
    parentDirectory: undefined,
    rootfsMib: SMALL_ROOTFS_MIB,
  };
  const run = new DemoRun(options, directory, { device, operator, mqtt });
  let steps = 0;
  return {
    run,
    async step(title, work) {
      steps += 1;
      await run.step(steps, title, async () => {
        await work(run);
      });
      return run.steps.at(-1)?.findings ?? [];
    },
    async close() {
      await run.end();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Ceremony and server stand, and an operator is logged in. */
export async function fleetWithServer(devices: number): Promise<Fleet> {
  const fleet = await emptyFleet(devices);
  try {
    const findings = [...(await fleet.step('ceremony', holdCeremony))];
    findings.push(
      ...(await fleet.step('server', async (run) => {
        fleet.server = await openServer(run);
      })),
    );
    if (findings.length > 0) throw new Error(`the fleet does not stand: ${findings.join('; ')}`);
    return fleet;
  } catch (error) {
    await fleet.close();
    throw error;
  }
}

/** Out of the factory, through their first boot, and enrolled. */
export async function enrolDevices(run: DemoRun): Promise<void> {
  await leaveFactory(run);
  await comeUp(run);
}

export async function serverAuthority(run: DemoRun): Promise<string> {
  return readFile(run.path('server/pki/server-ca.pem'), 'utf8');
}
