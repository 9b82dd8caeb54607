/**
 * How a file of the device's own takes effect over the image's. The device's copy lies on the data partition, under
 * `own/`, and is the truth; `activate` puts it into effect, at every boot:
 *   bound      the slot is read-only: the copy is shown over the slot's file (mounts.ts), which stays as it was signed
 *   in place   the file's folder is writable (an overlay, a data partition, a device without slots): written there too
 *   auto       each path as its file system is mounted
 *
 * Invariants: all is durable once a method returned, with its owner and mode; every method is idempotent; the slot's
 * bytes are never changed through a read-only mount.
 * May not: know what is in the files. In place, what the image brought is gone: whoever needs it keeps a digest.
 */
import { dirname, join, relative } from 'node:path';
import type { Disk } from '../../platform/disk.ts';
import { makeDirectoryDurably, removeDurably } from '../../platform/durable-file.ts';
import { sameSecret } from '../../platform/same-secret.ts';
import { type FileForm, type FileForms, nodeForms, SECRET_FORM, writeFormed } from './file-form.ts';
import type { Mounts } from './mounts.ts';

/** No file that a provider handles is larger: account files, keys, configurations. */
export const DEVICE_FILE_CAP_BYTES = 1024 * 1024;

export interface DeviceFilesSettings {
  /** `/` on a device; a folder for tests and emulated ones. */
  readonly root: string;
  readonly dataDirectory: string;
  readonly way: 'bound' | 'in-place' | 'auto';
  /** Throws where a path leads out of `root` by a link; for a root that is a folder of another machine. */
  readonly demandInside?: (path: string) => Promise<void>;
}

export class DeviceFiles {
  readonly root: string;
  readonly #disk: Disk;
  readonly #own: string;
  readonly #dataDirectory: string;
  readonly #way: DeviceFilesSettings['way'];
  readonly #demandInside: DeviceFilesSettings['demandInside'];
  readonly #mounts: Mounts | undefined;
  readonly #forms: FileForms;

  /** Without `mounts` every file is written where it is, and no link is followed. */
  constructor(disk: Disk, settings: DeviceFilesSettings, mounts?: Mounts, forms: FileForms = nodeForms) {
    this.root = settings.root;
    this.#disk = disk;
    this.#dataDirectory = settings.dataDirectory;
    this.#own = join(settings.dataDirectory, 'own');
    this.#way = settings.way;
    this.#demandInside = settings.demandInside;
    this.#mounts = mounts;
    this.#forms = forms;
  }

  /** The slot's own file, beneath what is bound over it. In place there is one file only: what is in effect. */
  async readImage(path: string): Promise<Uint8Array | undefined> {
    return this.#disk.readFile(await this.#imagePath(path), DEVICE_FILE_CAP_BYTES);
  }

  /** What programs read there. */
  async readInEffect(path: string): Promise<Uint8Array | undefined> {
    return this.#disk.readFile(await this.#target(path), DEVICE_FILE_CAP_BYTES);
  }

  /** Owner and mode that the image gives the file; undefined when it has none. */
  async imageForm(path: string): Promise<FileForm | undefined> {
    return this.#forms.read(await this.#imagePath(path));
  }

  readOwn(path: string): Promise<Uint8Array | undefined> {
    return this.#disk.readFile(this.#ownPath(path), DEVICE_FILE_CAP_BYTES);
  }

  /** The device's copy; not yet in effect where another one is bound. */
  async writeOwn(path: string, bytes: Uint8Array, form: FileForm): Promise<void> {
    const own = this.#ownPath(path);
    const standing = await this.readOwn(path);
    if (standing !== undefined && sameSecret(standing, bytes) && (await this.#forms.has(own, form))) return;
    await this.#makeFolders(dirname(own));
    await writeFormed(this.#disk, this.#forms, own, bytes, form);
  }

  /** The device's copy is what programs read. */
  async activate(path: string): Promise<void> {
    const bytes = await this.readOwn(path);
    if (bytes === undefined) throw new Error(`there is no copy of ${path} to put into effect`);
    const target = await this.#target(path);
    const form = (await this.#forms.read(this.#ownPath(path))) ?? SECRET_FORM;
    const inEffect = await this.#disk.readFile(target, DEVICE_FILE_CAP_BYTES);
    if (inEffect !== undefined && sameSecret(inEffect, bytes) && (await this.#forms.has(target, form))) return;
    if (this.#mounts !== undefined && (await this.isBesideSlot(path))) return this.#mounts.show(target, bytes, form);
    // A rename cannot replace what something is mounted over (systemd covers an empty machine-id).
    await this.#mounts?.uncover(target);
    await writeFormed(this.#disk, this.#forms, target, bytes, form);
  }

  /** writeOwn, then activate. */
  async put(path: string, bytes: Uint8Array, form: FileForm): Promise<void> {
    await this.writeOwn(path, bytes, form);
    await this.activate(path);
  }

  /** Nothing of the image's is to be read there: an empty file is bound over it; in place, it is removed. */
  async cover(path: string): Promise<void> {
    if ((await this.readInEffect(path)) === undefined) return;
    if (await this.isBesideSlot(path)) return this.put(path, new Uint8Array(), SECRET_FORM);
    const target = await this.#target(path);
    await this.#mounts?.uncover(target);
    await removeDurably(this.#disk, target);
    await this.forget(path);
  }

  /** The device's copy is gone. What is in effect stays until the next boot, or, in place, until it is written again. */
  async forget(path: string): Promise<void> {
    if ((await this.readOwn(path)) !== undefined) await removeDurably(this.#disk, this.#ownPath(path));
  }

  /** Does no link between `below`, whose own links are the image's affair, and the path lead writes astray? */
  async isStraight(path: string, below: string): Promise<boolean> {
    if (this.#mounts === undefined || (await this.#forms.read(dirname(this.#literal(path)))) === undefined) return true;
    const root = await this.#mounts.resolve(this.#literal(below), true);
    return (await this.#mounts.resolve(this.#literal(path))) === join(root, relative(below, path));
  }

  /** Is the device's copy shown over this path (`bound`), so that what read it before this boot's first boot read the slot's? */
  async isBesideSlot(path: string): Promise<boolean> {
    if (this.#way === 'bound') return true;
    if (this.#mounts === undefined || this.#way === 'in-place') return false;
    return this.#mounts.isReadOnly(await this.#mounts.resolve(this.#literal(path)));
  }

  /** Names in a folder as they are in effect; empty when there is none. */
  async list(folder: string): Promise<string[]> {
    return this.#disk.list(await this.#inside(folder));
  }

  /** A folder that the image lacks. In a read-only slot there is none to be made: `activate` then says what is missing. */
  async makeFolder(folder: string, form: FileForm): Promise<void> {
    if (await this.isBesideSlot(folder)) return;
    const target = await this.#inside(folder);
    if ((await this.#forms.read(target)) !== undefined) return;
    await makeDirectoryDurably(this.#disk, target, form.mode);
    await this.#forms.set(target, form);
  }

  async #imagePath(path: string): Promise<string> {
    const target = await this.#target(path);
    return this.#mounts !== undefined && (await this.isBesideSlot(path)) ? this.#mounts.beneath(target) : target;
  }

  async #target(path: string): Promise<string> {
    const literal = await this.#inside(path);
    return this.#mounts === undefined ? literal : this.#mounts.resolve(literal, await this.isBesideSlot(path));
  }

  async #inside(path: string): Promise<string> {
    const literal = this.#literal(path);
    await this.#demandInside?.(literal);
    return literal;
  }

  #literal(path: string): string {
    return join(this.root, path);
  }

  #ownPath(path: string): string {
    return join(this.#own, path);
  }

  async #makeFolders(folder: string): Promise<void> {
    if (folder.length > this.#dataDirectory.length) {
      await this.#makeFolders(dirname(folder));
      await makeDirectoryDurably(this.#disk, folder);
    }
  }
}
