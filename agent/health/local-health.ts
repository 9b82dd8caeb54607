/**
 * Every local check, once, in order: what every device must have, then what the image brings. The first failure is the
 * answer. The network is not among them: a lost network must never fail a release.
 */
import { constants } from 'node:fs';
import { access, readdir, readFile, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { errorText, systemErrorCode } from '../../platform/fault.ts';
import type { HealthChecker, HealthVerdict } from '../core/ports.ts';
import { type CheckSettings, DETAIL_CAP_CHARACTERS, runExecutableCheck } from './executable-check.ts';

/** A folder with more than this is a mistake, not a set of checks. */
const EXECUTABLES_CAP = 64;

export interface HealthSettings {
  /** Folder of executables, or null for none. */
  readonly directory: string | null;
  readonly dataDirectory: string;
  readonly minFreeBytes: number;
  readonly minAvailableMemoryBytes: number;
  /** Each executable's. */
  readonly executables: CheckSettings;
}

const HEALTHY: HealthVerdict = { healthy: true, failedCheck: '', detail: '' };

const unhealthy = (failedCheck: string, detail: string): HealthVerdict => ({
  healthy: false,
  failedCheck,
  detail: detail.replaceAll(/\s+/g, ' ').slice(0, DETAIL_CAP_CHARACTERS),
});

export function localHealth(settings: HealthSettings): HealthChecker {
  return {
    async check() {
      for (const check of [checkFreeSpace, checkMemory, checkExecutables]) {
        const verdict = await check(settings);
        if (!verdict.healthy) return verdict;
      }
      return HEALTHY;
    },
  };
}

async function checkFreeSpace({ dataDirectory, minFreeBytes }: HealthSettings): Promise<HealthVerdict> {
  try {
    const { bavail, bsize } = await statfs(dataDirectory);
    if (bavail * bsize >= minFreeBytes) return HEALTHY;
    return unhealthy(
      'free-space',
      `${bavail * bsize} bytes are free in the data directory, ${minFreeBytes} are needed`,
    );
  } catch (error) {
    return unhealthy('free-space', `the data directory cannot be asked: ${errorText(error)}`);
  }
}

/** MemAvailable of /proc/meminfo (proc(5)). A system without it passes: there is nothing to judge by. */
async function checkMemory({ minAvailableMemoryBytes }: HealthSettings): Promise<HealthVerdict> {
  const text = await readFile('/proc/meminfo', 'utf8').catch(() => '');
  const kilobytes = /^MemAvailable:\s+(\d+) kB$/m.exec(text)?.[1];
  if (kilobytes === undefined || Number(kilobytes) * 1024 >= minAvailableMemoryBytes) return HEALTHY;
  return unhealthy('memory', `${Number(kilobytes) * 1024} bytes are available, ${minAvailableMemoryBytes} are needed`);
}

/** A folder that the configuration names and the image lacks is a failure: an image that was not mounted has no checks. */
async function checkExecutables(settings: HealthSettings): Promise<HealthVerdict> {
  const { directory } = settings;
  if (directory === null) return HEALTHY;
  let names: string[];
  try {
    names = (await readdir(directory)).filter((name) => !name.startsWith('.')).sort();
  } catch (error) {
    return unhealthy(
      'health-directory',
      `the folder of checks cannot be read (${systemErrorCode(error) ?? errorText(error)})`,
    );
  }
  if (names.length > EXECUTABLES_CAP)
    return unhealthy('health-directory', `${names.length} checks; at most ${EXECUTABLES_CAP} are run`);
  for (const name of names) {
    const path = join(directory, name);
    if (!(await isExecutableFile(path))) return unhealthy(name.slice(0, 64), 'it is not an executable file');
    const outcome = await runExecutableCheck(path, settings.executables);
    if (!outcome.healthy) return unhealthy(name.slice(0, 64), outcome.detail);
  }
  return HEALTHY;
}

async function isExecutableFile(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
