/**
 * What people and the agent ask of the next first boot, as files: `<data>/first-boot/request` with the word `rotate` or
 * `reset`, and a file whose place agent.json names (a boot partition: whoever can write there has the device in hand),
 * which asks for a reset whatever it says.
 *
 * Invariants: a request is taken up once. The record notes its digest in the same write as the new state; then the
 * file is removed. One that cannot be removed (a read-only partition) is not taken up again while it stays as it is.
 */
import { type Disk, FileTooLarge } from '../../platform/disk.ts';
import { makeDirectoryDurably, removeDurably, writeDurably } from '../../platform/durable-file.ts';
import { errorText, systemErrorCode } from '../../platform/fault.ts';
import { utf8 } from '../../trust/bytes.ts';
import { sha256Hex } from '../../trust/crypto.ts';
import type { Log } from '../core/ports.ts';

const REQUEST_CAP_BYTES = 4096;

export interface RequestPaths {
  /** In the agent's own folder. */
  readonly own: string;
  /** Local presence; null: there is no such place. */
  readonly reset: string | null;
}

export interface FoundRequest {
  readonly path: string;
  readonly wants: 'reset' | 'rotate';
  /** Over place and content. */
  readonly digest: string;
}

export async function findRequests(disk: Disk, paths: RequestPaths, log: Log): Promise<readonly FoundRequest[]> {
  const found: FoundRequest[] = [];
  for (const path of [paths.own, paths.reset]) {
    const text = path === null ? undefined : await readRequest(disk, path, log);
    if (path === null || text === undefined) continue;
    const word = path === paths.reset ? 'reset' : text.trim();
    if (word !== 'reset' && word !== 'rotate') {
      const cure = 'write the word rotate or reset into it, or remove it';
      log.warn('a request to the first boot is not understood', { code: 'request-unknown', path, cure });
      continue;
    }
    const digest = sha256Hex(utf8(`${path}\0${text}`));
    found.push({ path, wants: word, digest });
  }
  return found;
}

/** Leaves the request for new secrets, durably; the next run takes it up. */
export async function askRotation(disk: Disk, directory: string): Promise<void> {
  await makeDirectoryDurably(disk, directory);
  await writeDurably(disk, `${directory}/request`, new TextEncoder().encode('rotate\n'));
}

/** False when the file stays: the partition is read-only, or gone. */
export async function removeRequest(disk: Disk, { path }: FoundRequest, log: Log): Promise<boolean> {
  try {
    await removeDurably(disk, path);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === undefined) throw error;
    const cure = 'remove the file; it is not taken up again as long as it stays the same';
    log.warn('a request was taken up and cannot be removed', {
      code: 'request-stays',
      path,
      cure,
      why: errorText(error),
    });
    return false;
  }
}

/** A place that cannot be read asks for nothing: a boot partition that is broken must not reset the device. */
async function readRequest(disk: Disk, path: string, log: Log): Promise<string | undefined> {
  try {
    const bytes = await disk.readFile(path, REQUEST_CAP_BYTES);
    return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
  } catch (error) {
    if (!(error instanceof FileTooLarge) && systemErrorCode(error) === undefined) throw error;
    log.warn('a request to the first boot cannot be read', { code: 'request-unreadable', path, why: errorText(error) });
    return undefined;
  }
}
