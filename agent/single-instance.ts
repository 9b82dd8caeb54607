/**
 * One agent per data directory. Each leaves an empty file there whose name says which process it is, and then looks for
 * those of others: of two that start at once at least one sees the other, and none can hold it beside another. (Both may
 * give way; whoever starts them starts them again.)
 *
 * A process that ended by a power cut, or by a signal that nobody can catch, leaves its file. Boot, process id and start
 * time (proc_pid_stat(5), field 22) tell that it is gone: no stale lock holds up a device. Not a socket that the kernel
 * would close: listening on one makes Node load its clustering, a megabyte that an idle agent has no use for.
 */
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { EXIT, Fault, systemErrorCode } from '../platform/fault.ts';

const NAME = /^running\.([0-9a-f-]{36})\.(\d{1,10})\.(\d{1,20})$/;

export interface Held {
  close(): void;
}

/** Throws a Fault (exit 5) when another agent works there. The process may end while it is held. */
export function holdDataDirectory(dataDirectory: string): Held {
  mkdirSync(dataDirectory, { recursive: true, mode: 0o700 });
  const path = join(dataDirectory, `running.${bootId()}.${process.pid}.${startTime(process.pid)}`);
  const isOwn = makeFile(path);
  const others = filesOfOthers(dataDirectory, path);
  if (!isOwn || others.some(({ alive }) => alive)) {
    if (isOwn) rmSync(path, { force: true });
    throw new Fault({
      code: 'agent-running',
      what: 'another agent works with this data directory',
      where: dataDirectory,
      cure: 'Stop that agent first (systemctl stop holdfast-agent), or ask it: holdfast-agent status.',
      exitStatus: EXIT.environment,
    });
  }
  for (const { file } of others) rmSync(file, { force: true });
  return { close: () => rmSync(path, { force: true }) };
}

/** Whether an agent works there now. Changes nothing. */
export function isHeld(dataDirectory: string): boolean {
  return existsSync(dataDirectory) && filesOfOthers(dataDirectory, '').some(({ alive }) => alive);
}

/** False when this very process holds it already. */
function makeFile(path: string): boolean {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'EEXIST') return false;
    // A device whose data partition is full must still take the release that mends it.
    if (code !== 'ENOSPC') throw error;
  }
  return true;
}

function filesOfOthers(dataDirectory: string, own: string): { file: string; alive: boolean }[] {
  return readdirSync(dataDirectory).flatMap((name) => {
    const file = join(dataDirectory, name);
    const [, boot, pid, started] = NAME.exec(name) ?? [];
    if (boot === undefined || file === own) return [];
    return [{ file, alive: boot === bootId() && startTime(Number(pid)) === started }];
  });
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/** In clock ticks since boot; undefined when there is no such process. */
function startTime(pid: number): string | undefined {
  try {
    // The program's name stands in parentheses before it, and may hold anything, parentheses too.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
