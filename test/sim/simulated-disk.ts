/**
 * A disk in memory that gives exactly what platform/disk.ts promises, and nothing more: a power cut drops what was not
 * synced, takes back names whose folder was not synced, tears writes in sectors, and keeps later writes while losing
 * earlier ones. Seeded, so that every failure replays. docs/SIMULATION.md says what it promises, and why.
 *
 * A cut does not stop the program under test: after every operation, `afterOperation` may ask for `cut(...)`, the disk as
 * a reboot would find it, and go on. One run thus yields every cut. `fault` makes single calls fail as a dying disk does.
 */
import { dirname } from 'node:path';
import { DIRECT_ALIGNMENT_BYTES } from '../../platform/aligned-memory.ts';
import type { Disk, DiskFile, OpenMode } from '../../platform/disk.ts';
import { FileTooLarge } from '../../platform/disk.ts';
import { FileContent } from './file-content.ts';
import {
  applyNames,
  applyWrite,
  type CutPolicy,
  cutFile,
  type FileNode,
  type FolderNode,
  folderNode,
  type NameChange,
  type Node,
  survivingNames,
} from './power-cut.ts';

export { seededRandom } from '../../scripts/seeded-random.ts';
export type { CutPolicy } from './power-cut.ts';

export interface DiskOperation {
  /** Counts up from 1. */
  readonly number: number;
  readonly kind: 'create' | 'write' | 'truncate' | 'sync' | 'rename' | 'remove' | 'mkdir' | 'rmdir' | 'syncdir';
  readonly path: string;
  readonly text: string;
}

/** Everything that is asked of the disk, also what changes nothing. */
export interface DiskCall {
  /** Counts up from 1. */
  readonly number: number;
  readonly kind: DiskOperation['kind'] | 'open' | 'read' | 'list';
  readonly path: string;
}

/** How a call fails. With `keepBytes`, a write puts so many of its bytes there before it does. */
export interface DiskFault {
  readonly code: 'EIO' | 'ENOSPC' | 'EROFS';
  readonly keepBytes?: number;
}

export class SimulatedDisk implements Disk {
  readonly #root: FolderNode;
  /** Called after every operation that changes or syncs something. */
  afterOperation: (operation: DiskOperation) => void = () => {};
  /** Syncs for which this says yes do nothing: how a test takes an fsync away. */
  ignoresSync: (operation: DiskOperation) => boolean = () => false;
  /** Asked before every call: how, if at all, it fails. */
  fault: (call: DiskCall) => DiskFault | undefined = () => undefined;
  operations = 0;
  calls = 0;
  /** What this disk does when it is asked to be read or written past the page cache. */
  direct: 'done' | 'refused-at-open' | 'refused-at-transfer' = 'done';

  constructor(root: FolderNode = folderNode('journalled')) {
    this.#root = root;
  }

  // --- Disk ------------------------------------------------------------------------------------------------------

  async open(path: string, mode: OpenMode): Promise<DiskFile> {
    this.call(mode === 'create' ? 'create' : 'open', path);
    const { parent, name } = this.#parentOf(path);
    const found = parent.live.get(name);
    if (found?.kind === 'folder') throw systemError('EISDIR', path);
    if (mode !== 'create') {
      if (found === undefined) throw systemError('ENOENT', path);
      const direct = mode === 'read-direct' || mode === 'update-direct';
      if (direct && this.direct === 'refused-at-open') throw systemError('EINVAL', path);
      return new SimulatedFile(this, path, found, direct);
    }
    const node = found ?? { kind: 'file', live: FileContent.EMPTY, durable: FileContent.EMPTY, pending: [] };
    if (found === undefined) this.#name(parent, [[name, node]]);
    else if (node.live.length > 0) applyWrite(node, { kind: 'truncate', lengthBytes: 0 });
    this.operation('create', path);
    return new SimulatedFile(this, path, node);
  }

  async readFile(path: string, capBytes: number): Promise<Uint8Array | undefined> {
    const node = this.#find(path);
    if (node === undefined) return undefined;
    if (node.kind === 'folder') throw systemError('EISDIR', path);
    if (node.live.length > capBytes) throw new FileTooLarge(path, node.live.length, capBytes);
    this.call('read', path);
    return node.live.bytes.slice();
  }

  async rename(from: string, to: string): Promise<void> {
    this.call('rename', from);
    const source = this.#parentOf(from);
    const target = this.#parentOf(to);
    const node = source.parent.live.get(source.name);
    if (node === undefined) throw systemError('ENOENT', from);
    if (source.parent === target.parent) {
      this.#name(source.parent, [
        [target.name, node],
        [source.name, undefined],
      ]);
    } else {
      this.#name(target.parent, [[target.name, node]]);
      this.#name(source.parent, [[source.name, undefined]]);
    }
    this.operation('rename', from, ` ${to}`);
  }

  async remove(path: string): Promise<void> {
    // As for the real one: what lies in a folder that is not there is gone already.
    if (this.#find(dirname(path)) === undefined) return;
    const { parent, name } = this.#parentOf(path);
    if (!parent.live.has(name)) return;
    this.call('remove', path);
    this.#name(parent, [[name, undefined]]);
    this.operation('remove', path);
  }

  async makeDirectory(path: string): Promise<void> {
    let parent = this.#root;
    let made = '';
    for (const name of parts(path)) {
      made = `${made}/${name}`;
      let node = parent.live.get(name);
      if (node === undefined) {
        this.call('mkdir', made);
        node = folderNode(parent.names);
        this.#name(parent, [[name, node]]);
        this.operation('mkdir', made);
      }
      if (node.kind === 'file') throw systemError('ENOTDIR', path);
      parent = node;
    }
  }

  async removeDirectory(path: string): Promise<void> {
    const { parent, name } = this.#parentOf(path);
    const node = parent.live.get(name);
    if (node === undefined) throw systemError('ENOENT', path);
    if (node.kind === 'file') throw systemError('ENOTDIR', path);
    if (node.live.size > 0) throw systemError('ENOTEMPTY', path);
    this.call('rmdir', path);
    this.#name(parent, [[name, undefined]]);
    this.operation('rmdir', path);
  }

  async list(path: string): Promise<string[]> {
    const node = this.#find(path);
    if (node === undefined) return [];
    if (node.kind === 'file') throw systemError('ENOTDIR', path);
    this.call('list', path);
    return [...node.live.keys()].sort();
  }

  async syncDirectory(path: string): Promise<void> {
    const node = this.#find(path);
    if (node === undefined) throw systemError('ENOENT', path);
    if (node.kind === 'file') throw systemError('ENOTDIR', path);
    this.call('syncdir', path);
    this.operation('syncdir', path, '', () => {
      node.durable = new Map(node.live);
      node.pending = [];
    });
  }

  // --- the simulation --------------------------------------------------------------------------------------------

  /** Counts a call, and throws what `fault` wants; a fault that keeps bytes is the caller's to throw. */
  call(kind: DiskCall['kind'], path: string): DiskFault | undefined {
    this.calls += 1;
    const fault = this.fault({ number: this.calls, kind, path });
    if (fault !== undefined && fault.keepBytes === undefined) throw systemError(fault.code, path);
    return fault;
  }

  /** Counts an operation. A sync is given as `effect`, and skipped when this disk ignores it. */
  operation(kind: DiskOperation['kind'], path: string, more = '', effect?: () => void): void {
    this.operations += 1;
    const operation = { number: this.operations, kind, path, text: `${kind} ${path}${more}` };
    if (effect !== undefined && !this.ignoresSync(operation)) effect();
    this.afterOperation(operation);
  }

  /** Another disk: what a reboot finds if the power is cut now. `random` gives numbers in [0, 1). */
  cut(policy: CutPolicy, random: () => number = () => 0): SimulatedDisk {
    const copies = new Map<Node, Node>();
    const survives = (node: Node): Node => {
      const copied = copies.get(node);
      if (copied !== undefined) return copied;
      const copy = node.kind === 'file' ? cutFile(node, policy, random) : folderNode(node.names);
      copies.set(node, copy);
      if (node.kind === 'folder' && copy.kind === 'folder') {
        for (const [name, child] of survivingNames(node, policy, random)) copy.live.set(name, survives(child));
        copy.durable = new Map(copy.live);
      }
      return copy;
    };
    const root = survives(this.#root);
    if (root.kind === 'file') throw new Error('the root is a folder');
    const found = new SimulatedDisk(root);
    found.direct = this.direct;
    return found;
  }

  /** Every file's content, by path. The same content is the same object, also in disks that were cut off. */
  files(): Map<string, FileContent> {
    const found = new Map<string, FileContent>();
    const walk = (node: FolderNode, prefix: string): void => {
      for (const [name, child] of node.live) {
        if (child.kind === 'file') found.set(`${prefix}/${name}`, child.live);
        else walk(child, `${prefix}/${name}`);
      }
    };
    walk(this.#root, '');
    return found;
  }

  /** Every folder, also those that hold nothing. */
  folders(): string[] {
    const found: string[] = [];
    const walk = (node: FolderNode, prefix: string): void => {
      for (const [name, child] of node.live) {
        if (child.kind === 'file') continue;
        found.push(`${prefix}/${name}`);
        walk(child, `${prefix}/${name}`);
      }
    };
    walk(this.#root, '');
    return found;
  }

  /** The content of every file, by path: for invariants. */
  contents(): Map<string, Uint8Array> {
    return new Map([...this.files()].map(([path, content]) => [path, content.bytes]));
  }

  /** One file's content without a call counted: what an observer sees. */
  contentOf(path: string): FileContent | undefined {
    const node = this.#find(path);
    return node?.kind === 'file' ? node.live : undefined;
  }

  /** What a power cut that loses everything unsynced would leave of one file. */
  durableContentOf(path: string): FileContent | undefined {
    let node: Node = this.#root;
    for (const name of parts(path)) {
      const child: Node | undefined = node.kind === 'folder' ? node.durable.get(name) : undefined;
      if (child === undefined) return undefined;
      node = child;
    }
    return node.kind === 'file' ? node.durable : undefined;
  }

  /** Puts a file there, whole and durable, as a factory does. */
  async place(path: string, bytes: Uint8Array): Promise<void> {
    const at = path.lastIndexOf('/');
    await this.makeDirectory(path.slice(0, at));
    const file = await this.open(path, 'create');
    await file.write(bytes, 0);
    await file.sync();
    for (let end = at; end >= 0; end = end === 0 ? -1 : Math.max(path.lastIndexOf('/', end - 1), 0)) {
      await this.syncDirectory(path.slice(0, end) || '/');
    }
  }

  /** Other bytes where the file's stood, without anybody having written them. */
  rot(path: string, bytes: Uint8Array): void {
    const node = this.#find(path);
    if (node?.kind !== 'file') throw systemError('ENOENT', path);
    node.live = FileContent.EMPTY.written(bytes, 0);
    node.durable = node.live;
  }

  /** From here on the folder keeps its names as FAT does, with all beneath it. It is made, durably. */
  async mountFat(path: string): Promise<void> {
    await this.makeDirectory(path);
    await this.syncDirectory('/');
    const node = this.#find(path);
    if (node?.kind === 'folder') node.names = 'unordered';
  }

  #name(parent: FolderNode, change: NameChange): void {
    applyNames(parent.live, change);
    // FAT has no journal: each name is an entry of its own, written back when it pleases the cache.
    if (parent.names === 'unordered') parent.pending.push(...change.map((one) => [one]));
    else parent.pending.push(change);
  }

  #find(path: string): Node | undefined {
    let node: Node = this.#root;
    for (const name of parts(path)) {
      if (node.kind === 'file') return undefined;
      const child: Node | undefined = node.live.get(name);
      if (child === undefined) return undefined;
      node = child;
    }
    return node;
  }

  #parentOf(path: string): { parent: FolderNode; name: string } {
    const names = parts(path);
    const name = names.pop() ?? '';
    const parent = this.#find(names.join('/'));
    if (parent === undefined) throw systemError('ENOENT', path);
    if (parent.kind === 'file') throw systemError('ENOTDIR', path);
    return { parent, name };
  }
}

class SimulatedFile implements DiskFile {
  readonly #disk: SimulatedDisk;
  readonly #path: string;
  readonly #node: FileNode;
  readonly #direct: boolean;

  constructor(disk: SimulatedDisk, path: string, node: FileNode, direct = false) {
    this.#direct = direct;
    this.#disk = disk;
    this.#path = path;
    this.#node = node;
  }

  async read(length: number, position: number): Promise<Uint8Array> {
    this.#disk.call('read', this.#path);
    return this.#node.live.read(length, position);
  }

  async readInto(into: Uint8Array, position: number): Promise<number> {
    this.#demandAligned(into, position);
    this.#disk.call('read', this.#path);
    return this.#node.live.readInto(into, position);
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    this.#demandAligned(bytes, position);
    const fault = this.#disk.call('write', this.#path);
    const kept = bytes.slice(0, fault?.keepBytes ?? bytes.length);
    applyWrite(this.#node, { kind: 'write', bytes: kept, position });
    this.#disk.operation('write', this.#path, ` ${kept.length}@${position}${this.#direct ? ' direct' : ''}`);
    if (fault !== undefined) throw systemError(fault.code, this.#path);
  }

  async truncate(lengthBytes: number): Promise<void> {
    this.#disk.call('truncate', this.#path);
    applyWrite(this.#node, { kind: 'truncate', lengthBytes });
    this.#disk.operation('truncate', this.#path, ` ${lengthBytes}`);
  }

  async sizeBytes(): Promise<number> {
    return this.#node.live.length;
  }

  async sync(): Promise<void> {
    this.#disk.call('sync', this.#path);
    this.#disk.operation('sync', this.#path, '', () => {
      this.#node.durable = this.#node.live;
      this.#node.pending = [];
    });
  }

  async close(): Promise<void> {}

  /** As the kernel does; of an address only the offset in its memory is known here. */
  #demandAligned(bytes: Uint8Array, position: number): void {
    if (!this.#direct) return;
    const odd = [bytes.byteOffset, bytes.length, position].some((value) => value % DIRECT_ALIGNMENT_BYTES !== 0);
    if (odd || this.#disk.direct === 'refused-at-transfer') throw systemError('EINVAL', this.#path);
  }
}

function parts(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code, path });
}
