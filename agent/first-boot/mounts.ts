/**
 * Mounts as the first boot needs them: which one a path lies in, bytes that are shown over a slot's file, and a view of a
 * file system without what is mounted over it. Reads /proc/self/mountinfo (proc_pid_mountinfo(5)); changes through
 * util-linux.
 *
 * Invariant: nothing is taken off to put something else on. What is bound is a copy in memory, each time another file,
 * over the one before; so there is no moment in which the image's shows through. (A file that was replaced by a rename
 * cannot be mounted over, so the durable copy itself is not what is bound.) Older copies are emptied, and nothing is ever
 * mounted over a copy's own file; they go with the next boot.
 */
import { randomBytes } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Disk, nodeDisk } from '../../platform/disk.ts';
import { type Fault, systemErrorCode } from '../../platform/fault.ts';
import { boardFault, type RunProgram, runProgram } from '../boards/board-program.ts';
import { type FileForm, type FileForms, nodeForms, writeFormed } from './file-form.ts';

const MOUNTINFO = '/proc/self/mountinfo';
/** /proc gives no size, so it is read as a stream; more lines than this are no device. */
const MOUNTINFO_CAP_BYTES = 1024 * 1024;
const FOLDER_PERMISSIONS = 0o700;

interface Mount {
  readonly at: string;
  readonly readOnly: boolean;
}

/** What DeviceFiles asks of the machine. */
export interface Mounts {
  /** The path with its folder's links followed; with `last`, its own link too. */
  resolve(path: string, last?: boolean): Promise<string>;
  /** Is the file system that holds this resolved path's folder read-only here? */
  isReadOnly(path: string): Promise<boolean>;
  /** The same path where nothing is mounted over it. */
  beneath(path: string): Promise<string>;
  /** These bytes are what `path` shows, until the next boot. A Fault when there is no file to bind over. */
  show(path: string, bytes: Uint8Array, form: FileForm): Promise<void>;
  /** Nothing is mounted over exactly this path. */
  uncover(path: string): Promise<void>;
}

export class SystemMounts implements Mounts {
  readonly #memory: string;
  readonly #forms: FileForms;
  readonly #disk: Disk;
  readonly #run: RunProgram;

  /** `memory`: a folder under /run, made when it is needed, 0700: the image's secrets and the device's show in it. */
  constructor(memory: string, disk: Disk = nodeDisk, forms: FileForms = nodeForms, run: RunProgram = runProgram) {
    this.#memory = memory;
    this.#forms = forms;
    this.#disk = disk;
    this.#run = run;
  }

  async resolve(path: string, last = false): Promise<string> {
    if (last) {
      const whole = await realpathOf(path);
      if (whole !== undefined) return whole;
    }
    const folder = await realpathOf(dirname(path));
    return folder === undefined ? path : join(folder, basename(path));
  }

  async isReadOnly(path: string): Promise<boolean> {
    return holderOf(await this.#mounts(), dirname(path)).readOnly;
  }

  async beneath(path: string): Promise<string> {
    const mounts = await this.#mounts();
    const { at } = holderOf(mounts, dirname(path));
    const view = join(this.#memory, 'views', encodeURIComponent(at));
    await this.#bindPrivately(mounts, at, view);
    return join(view, path.slice(at === '/' ? 0 : at.length));
  }

  async show(path: string, bytes: Uint8Array, form: FileForm): Promise<void> {
    if ((await realpathOf(path)) === undefined) throw noPlace(path);
    const copies = join(this.#memory, 'shown');
    // What is bound from a shared mount, as systemd makes /run, is a peer of it: whatever is mounted over a shown copy
    // would be mounted over that copy's file in this folder too, and who empties that file would empty the newest.
    await this.#bindPrivately(await this.#mounts(), copies, copies);
    const folder = join(copies, encodeURIComponent(path));
    await this.#disk.makeDirectory(folder, FOLDER_PERMISSIONS);
    const older = await this.#disk.list(folder);
    const name = randomBytes(8).toString('hex');
    await writeFormed(this.#disk, this.#forms, join(folder, name), bytes, form);
    await this.#mount(['--bind', join(folder, name), path]);
    for (const former of older) await this.#empty(join(folder, former));
  }

  async uncover(path: string): Promise<void> {
    for (const { at } of await this.#mounts()) {
      if (at === path) await this.#done('umount', ['--lazy', path]);
    }
  }

  /** Once. Not recursive: of what is mounted below, nothing comes along. Private: it does not spread, nor do they. */
  async #bindPrivately(mounts: readonly Mount[], from: string, folder: string): Promise<void> {
    if (mounts.some(({ at }) => at === folder)) return;
    await this.#disk.makeDirectory(folder, FOLDER_PERMISSIONS);
    await this.#mount(['--bind', '--make-private', from, folder]);
  }

  async #empty(path: string): Promise<void> {
    const file = await this.#disk.open(path, 'update');
    try {
      await file.truncate(0);
    } finally {
      await file.close();
    }
  }

  async #mounts(): Promise<Mount[]> {
    const file = await this.#disk.open(MOUNTINFO, 'read');
    try {
      return decodeMountinfo(new TextDecoder().decode(await file.read(MOUNTINFO_CAP_BYTES, 0)));
    } finally {
      await file.close();
    }
  }

  #mount(words: string[]): Promise<void> {
    return this.#done('mount', words);
  }

  async #done(program: string, words: string[]): Promise<void> {
    const { status, said } = await this.#run(program, words);
    if (status === 0) return;
    const cure = `Run ${program} ${words.join(' ')} by hand and cure what it says; the agent needs util-linux and CAP_SYS_ADMIN.`;
    throw boardFault(
      'mount-failed',
      `the device's own file cannot be put over the image's (${said})`,
      words.at(-1) ?? '',
      cure,
    );
  }
}

/** Mounts in the order in which they were made; of two at one place the later one shows. */
export function decodeMountinfo(text: string): Mount[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [before = '', after = ''] = line.split(' - ');
      const [, , , , at = '', options = ''] = before.split(' ');
      const readOnly = [options, after.split(' ')[2] ?? ''].some((list) => list.split(',').includes('ro'));
      return {
        at: at.replaceAll(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8))),
        readOnly,
      };
    });
}

function holderOf(mounts: readonly Mount[], folder: string): Mount {
  const holders = mounts.filter(({ at }) => at === '/' || folder === at || folder.startsWith(`${at}/`));
  return holders.reduce((best, mount) => (mount.at.length >= best.at.length ? mount : best), {
    at: '/',
    readOnly: false,
  });
}

async function realpathOf(path: string): Promise<string | undefined> {
  try {
    return await realpath(path);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function noPlace(path: string): Fault {
  const cure = 'Ship an empty file of that name in the image, or keep it on the data partition.';
  return boardFault('no-place-in-slot', "the slot has no file that the device's own could be bound over", path, cure);
}
