/**
 * systemd's side of a service: READY=1 once the agent stands, WATCHDOG=1 while its strands get on (sd_notify(3)).
 *
 * Node has no unix datagram sockets, so `systemd-notify` sends: one short process each time, and none at all where the
 * unit has no WatchdogSec. Turns of the conversation feed as they come; the timer only fires when there was none for
 * half of WatchdogSec, so that an agent that polls more often wakes up no more than without a watchdog.
 */
import { askProgram } from '../boards/board-program.ts';
import type { Clock, Log } from '../core/ports.ts';

export interface WatchdogPorts {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly log: Log;
  /** The strands that hang. */
  readonly stuck: () => readonly string[];
}

const SEND_DEADLINE_MS = 10_000;

/** WatchdogSec of this very process in milliseconds; undefined when systemd expects nothing of it. */
export function watchdogIntervalMs(environment: NodeJS.ProcessEnv, pid: number): number | undefined {
  const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = environment;
  const intervalMs = Math.floor(Number(WATCHDOG_USEC) / 1000);
  if (NOTIFY_SOCKET === undefined || !(intervalMs > 0)) return undefined;
  return WATCHDOG_PID === undefined || WATCHDOG_PID === String(pid) ? intervalMs : undefined;
}

export class ServiceWatchdog {
  readonly #ports: WatchdogPorts;
  readonly #socket: string | undefined;
  readonly #intervalMs: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #fedMs = Number.NEGATIVE_INFINITY;
  #stopped = false;

  constructor(ports: WatchdogPorts, environment: NodeJS.ProcessEnv = process.env, pid = process.pid) {
    this.#ports = ports;
    this.#socket = environment.NOTIFY_SOCKET;
    this.#intervalMs = watchdogIntervalMs(environment, pid);
  }

  /** The agent has opened everything, and boot recovery is done. */
  async ready(): Promise<void> {
    if (this.#socket === undefined) return;
    await this.#send('READY=1');
    await this.#feed();
  }

  /** The conversation came round: feeds, if it is time. */
  async turn(): Promise<void> {
    if (this.#intervalMs === undefined) return;
    if (this.#ports.clock.monotonicMs() - this.#fedMs >= this.#intervalMs / 4) await this.#feed();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #feed(): Promise<void> {
    if (this.#intervalMs === undefined || this.#stopped) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#feed(), this.#intervalMs / 2).unref();
    const stuck = this.#ports.stuck();
    if (stuck.length > 0) return this.#ports.log.warn('the watchdog is not fed', { stuck });
    this.#fedMs = this.#ports.clock.monotonicMs();
    await this.#send('WATCHDOG=1');
  }

  async #send(assignment: string): Promise<void> {
    const environment = { NOTIFY_SOCKET: this.#socket ?? '' };
    const end = await askProgram('systemd-notify', [assignment], { deadlineMs: SEND_DEADLINE_MS, environment });
    if (end?.status !== 0) this.#ports.log.warn('systemd-notify failed', { assignment, why: end?.said });
  }
}
