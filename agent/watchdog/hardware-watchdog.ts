/**
 * The machine's own watchdog, held by the agent while its slot is on trial: a release that hangs the machine, or the
 * agent, is reset, and the next attempt or the old slot boots (Documentation/watchdog/watchdog-api.rst).
 *
 * Invariants: armed only where it can be disarmed again (`nowayout` is 0), because a confirmed release must not depend
 * on the agent; fed only while the strands get on; disarmed by the magic close once the trial is over.
 */
import { open, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { errorText } from '../../platform/fault.ts';

export interface WatchdogFacts {
  readonly active: boolean;
  readonly timeoutMs: number;
  readonly nowayout: boolean;
}

/** What the kernel says of it (sysfs-class-watchdog); undefined without it. /dev/watchdog is watchdog0. */
export async function watchdogFacts(device: string, sysDirectory = '/sys'): Promise<WatchdogFacts | undefined> {
  const name = basename(device) === 'watchdog' ? 'watchdog0' : basename(device);
  const read = (file: string): Promise<string> =>
    readFile(join(sysDirectory, 'class/watchdog', name, file), 'utf8').then(
      (text) => text.trim(),
      () => '',
    );
  const timeoutMs = Number(await read('timeout')) * 1000;
  if (!(timeoutMs > 0)) return undefined;
  return { active: (await read('state')) === 'active', timeoutMs, nowayout: (await read('nowayout')) !== '0' };
}

export class HardwareWatchdog {
  readonly #stuck: () => readonly string[];
  readonly #file: Awaited<ReturnType<typeof open>>;
  readonly #timer: NodeJS.Timeout;
  #disarmed = false;

  /** The reason, in words, when it cannot be had; nothing is armed then. */
  static async arm(
    device: string,
    stuck: () => readonly string[],
    sysDirectory?: string,
  ): Promise<HardwareWatchdog | string> {
    const facts = await watchdogFacts(device, sysDirectory);
    if (facts?.nowayout !== false) return `${device}: ${facts === undefined ? 'not there' : 'nowayout'}`;
    try {
      return new HardwareWatchdog(await open(device, 'w'), facts.timeoutMs, stuck);
    } catch (error) {
      // EBUSY: somebody feeds it already, as systemd does with RuntimeWatchdogSec.
      return errorText(error);
    }
  }

  private constructor(file: Awaited<ReturnType<typeof open>>, timeoutMs: number, stuck: () => readonly string[]) {
    this.#file = file;
    this.#stuck = stuck;
    this.#timer = setInterval(() => void this.#feed(), timeoutMs / 4).unref();
    void this.#feed();
  }

  /** Idempotent. */
  async disarm(): Promise<void> {
    if (this.#disarmed) return;
    this.#disarmed = true;
    clearInterval(this.#timer);
    await this.#file.write('V');
    await this.#file.close();
  }

  async #feed(): Promise<void> {
    // A write that fails is no feed: the watchdog then does what it is there for.
    if (this.#stuck().length === 0) await this.#file.write('.').catch(() => {});
  }
}
