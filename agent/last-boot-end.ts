/**
 * What the machine still knows of how its last boot ended: hints for the report of a trial that used its attempts up.
 * They are told, and decide nothing: a kernel log may be of an older boot.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** WDIOF_CARDRESET of linux/watchdog.h: the watchdog reset the machine. */
const CARD_RESET = 0x20;

/** `; ` before each hint; empty when there is none. Reads only. */
export async function lastBootEnd(sysDirectory = '/sys'): Promise<string> {
  const status = await readFile(join(sysDirectory, 'class/watchdog/watchdog0/bootstatus'), 'utf8').catch(() => '');
  const kept = await readdir(join(sysDirectory, 'fs/pstore')).catch(() => []);
  const log = kept.find((name) => name.startsWith('dmesg-'))?.slice(0, 64);
  const reset = (Number(status.trim()) & CARD_RESET) !== 0;
  return `${reset ? '; a watchdog reset the machine' : ''}${log === undefined ? '' : `; the kernel left ${log}`}`;
}
