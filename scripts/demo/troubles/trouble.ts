/** What every trouble has in common: a limit, a fleet whose server may be another process afterwards, and who can be killed. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Process } from '../../../platform/processes.ts';
import type { DemoRun } from '../demo-run.ts';

/** How long devices and server may take to overcome one trouble. */
export const TROUBLE_LIMIT_MS = 120_000;

export interface FleetInTrouble {
  /** The server as it runs now. */
  server: Process;
}

async function agentPid(run: DemoRun, deviceId: string): Promise<number | undefined> {
  const text = await readFile(join(run.devicePath(deviceId), 'run/agent.pid'), 'utf8').catch(() => '');
  return Number(text.trim()) || undefined;
}

/** The boot loop wrote the number down for this very device; false when the agent was gone already. */
export async function killAgent(run: DemoRun, deviceId: string): Promise<boolean> {
  const pid = await agentPid(run, deviceId);
  if (pid === undefined) return false;
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  if (!commandLine.includes(run.devicePath(deviceId))) return false;
  process.kill(pid, 'SIGKILL');
  return true;
}
