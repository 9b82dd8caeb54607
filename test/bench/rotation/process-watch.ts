/** What a process used, as the kernel counts it: proc_pid_stat(5), proc_pid_status(5). */
import { readFileSync } from 'node:fs';

/** proc_pid_stat(5) counts in these; sysconf(_SC_CLK_TCK) is 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** User and system together, of all its threads, since it started. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const [user = 0, system = 0] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13)
    .map(Number);
  return (user + system) / TICKS_PER_SECOND;
}

/** Keeps the last figures, so that they can be told of a process that has ended. */
export class ProcessWatch {
  readonly #pid: number;
  #peakMb = 0;

  constructor(pid: number) {
    this.#pid = pid;
  }

  cpuS(): number {
    this.look();
    return cpuSeconds(this.#pid);
  }

  look(): void {
    const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.#pid}/status`, 'utf8'))?.[1];
    this.#peakMb = (Number(kilobytes ?? 0) * 1024) / 1e6;
  }

  /** The largest resident memory that it ever had, MB of 10⁶ bytes. */
  peakMb(): number {
    this.look();
    return this.#peakMb;
  }
}
