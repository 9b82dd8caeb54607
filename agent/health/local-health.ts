/**
 * Every local check, once, in order: what every device must have, then what the image brings. The first failure is the
 * answer. The network is not among them: a lost network must never fail a release.
 *
 * Invariants: every check has a deadline, also those that only ask the kernel: a dying disk answers nothing.
 */
import { readFile, statfs } from 'node:fs/promises';
import { errorText } from '../../platform/fault.ts';
import type { HealthBaseline, HealthChecker, HealthVerdict } from '../core/ports.ts';
import { type CheckSettings, DETAIL_CAP_CHARACTERS } from './executable-check.ts';
import { runFolder } from './executable-folder.ts';
import { type FirstBootSettings, firstBootTrouble } from './first-boot-check.ts';
import { checkSystemd, type SystemdSettings, systemdBaseline } from './systemd.ts';

export interface HealthSettings {
  /** Folder of executables, or null for none. */
  readonly directory: string | null;
  readonly dataDirectory: string;
  readonly minFreeBytes: number;
  readonly minAvailableMemoryBytes: number;
  /** Null: systemd is not looked at. */
  readonly systemd: SystemdSettings | null;
  /** Undefined: the image has no first boot. */
  readonly firstBoot?: FirstBootSettings | undefined;
  /** Each executable's. */
  readonly executables: CheckSettings;
  readonly onProgress?: () => void;
}

const HEALTHY: HealthVerdict = { healthy: true, failedCheck: '', detail: '' };

const unhealthy = (failedCheck: string, detail: string): HealthVerdict => ({
  healthy: false,
  failedCheck: failedCheck.slice(0, 100),
  detail: detail.replaceAll(/\s+/g, ' ').slice(0, DETAIL_CAP_CHARACTERS),
});

type Check = (settings: HealthSettings, baseline: HealthBaseline | undefined) => Promise<HealthVerdict>;

export function localHealth(settings: HealthSettings): HealthChecker {
  return {
    baseline: async () => (settings.systemd === null ? undefined : systemdBaseline()),
    async check(baseline) {
      const checks: Check[] = [checkFirstBoot, checkFreeSpace, checkMemory, checkUnits, checkExecutables];
      for (const check of checks) {
        const verdict = await check(settings, baseline);
        settings.onProgress?.();
        if (!verdict.healthy) return verdict;
      }
      return HEALTHY;
    },
  };
}

/** A trial that is blocked goes back: the release whose provider fails must not be confirmed. */
async function checkFirstBoot({ firstBoot }: HealthSettings): Promise<HealthVerdict> {
  const blocked = firstBoot === undefined ? undefined : await firstBootTrouble(firstBoot);
  return blocked === undefined ? HEALTHY : unhealthy(`first-boot ${blocked.code}`, blocked.detail);
}

async function checkFreeSpace({ dataDirectory, minFreeBytes, executables }: HealthSettings): Promise<HealthVerdict> {
  try {
    const { bavail, bsize } = await within(executables.deadlineMs, statfs(dataDirectory));
    if (bavail * bsize >= minFreeBytes) return HEALTHY;
    return unhealthy(
      'free-space',
      `${bavail * bsize} bytes are free in the data directory, ${minFreeBytes} are needed`,
    );
  } catch (error) {
    return unhealthy('free-space', `the data directory cannot be asked: ${errorText(error)}`);
  }
}

/** Rejects when `work` takes longer; whatever it still does is not waited for. */
async function within<T>(deadlineMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${deadlineMs} ms`)), deadlineMs);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

/** MemAvailable of /proc/meminfo (proc(5)). A system without it passes: there is nothing to judge by. */
async function checkMemory({ minAvailableMemoryBytes }: HealthSettings): Promise<HealthVerdict> {
  const text = await readFile('/proc/meminfo', 'utf8').catch(() => '');
  const kilobytes = /^MemAvailable:\s+(\d+) kB$/m.exec(text)?.[1];
  if (kilobytes === undefined || Number(kilobytes) * 1024 >= minAvailableMemoryBytes) return HEALTHY;
  return unhealthy('memory', `${Number(kilobytes) * 1024} bytes are available, ${minAvailableMemoryBytes} are needed`);
}

const checkUnits: Check = async ({ systemd }, baseline) => {
  const trouble = systemd === null ? undefined : await checkSystemd(systemd, baseline);
  return trouble === undefined ? HEALTHY : unhealthy(trouble.name, trouble.detail);
};

async function checkExecutables({
  directory,
  executables,
  onProgress: onEach = () => {},
}: HealthSettings): Promise<HealthVerdict> {
  const [failed] = await runFolder(directory, executables, { stopAtFirst: true, onEach });
  if (failed === undefined) return HEALTHY;
  return unhealthy(failed.name === 'directory' ? 'health-directory' : failed.name, failed.detail);
}
