/**
 * A disk in memory that gives exactly what platform/disk.ts promises, and nothing more: a power cut drops what was not
 * synced, takes back names whose folder was not synced, tears writes in sectors, and keeps later writes while losing
 * earlier ones. Seeded, so that every failure replays.
 *
 * A cut does not stop the program under test: after every operation, `afterOperation` may ask for `cut(...)`, the disk as
 * a reboot would find it, and go on. One run thus yields every cut.
 */

import { DIRECT_ALIGNMENT_BYTES } from '../../platform/aligned-memory.ts';
import type { Disk, DiskFile, OpenMode } from '../../platform/disk.ts';
import { FileTooLarge } from '../../platform/disk.ts';

const SECTOR_BYTES = 512;

type PendingWrite =
  | { readonly kind: 'write'; readonly bytes: Uint8Array; readonly position: number }
  | { readonly kind: 'truncate'; readonly lengthBytes: number };

interface FileNode {
  readonly kind: 'file';
  live: Uint8Array;
  durable: Uint8Array;
  pending: PendingWrite[];
}

/** One change of a folder: names set (to a node) or removed. A rename is one change. */
type NameChange = readonly (readonly [name: string, node: Node | undefined])[];

interface FolderNode {
  readonly kind: 'folder';
  readonly live: Map<string, Node>;
  durable: Map<string, Node>;
  pending: NameChange[];
}

type Node = FileNode | FolderNode;

export type CutPolicy =
  /** Everything that was not synced is gone. */
  | 'drop'
  /** Everything is there: the process died, the power did not. */
  | 'keep'
  /** Any part of it is there, in any order, torn. */
  | 'random';

export interface DiskOperation {
  /** Counts up from 1. */
  readonly number: number;
  readonly text: string;
}

export class SimulatedDisk implements Disk {
  readonly #root: FolderNode;
  /** Called after every operation that changes or syncs something. */
  afterOperation: (operation: DiskOperation) => void = () => {};
  /** Syncs for which this says yes do nothing: how a test takes an fsync away. */
  ignoresSync: (operation: DiskOperation) => boolean = () => false;
  operations = 0;
  /** What this disk does when it is asked to be read or written past the page cache. */
  direct: 'done' | 'refused-at-open' | 'refused-at-transfer' = 'done';

  constructor(root: FolderNode = folder()) {
    this.#root = root;
  }

  // --- Disk ------------------------------------------------------------------------------------------------------

  async open(path: string, mode: OpenMode): Promise<DiskFile> {
    const { parent, name } = this.#parentOf(path);
    const found = parent.live.get(name);
    if (found?.kind === 'folder') throw systemError('EISDIR', path);
    if (mode !== 'create') {
      if (found === undefined) throw systemError('ENOENT', path);
      const direct = mode === 'read-direct' || mode === 'update-direct';
      if (direct && this.direct === 'refused-at-open') throw systemError('EINVAL', path);
      return new SimulatedFile(this, path, found, direct);
    }
    const node = found ?? { kind: 'file', live: EMPTY, durable: EMPTY, pending: [] };
    if (found === undefined) this.#name(parent, [[name, node]]);
    else if (node.live.length > 0) applyWrite(node, { kind: 'truncate', lengthBytes: 0 });
    this.operation(`create ${path}`);
    return new SimulatedFile(this, path, node);
  }

  async readFile(path: string, capBytes: number): Promise<Uint8Array | undefined> {
    const node = this.#find(path);
    if (node === undefined) return undefined;
    if (node.kind === 'folder') throw systemError('EISDIR', path);
    if (node.live.length > capBytes) throw new FileTooLarge(path, node.live.length, capBytes);
    return node.live.slice();
  }

  async rename(from: string, to: string): Promise<void> {
    const source = this.#parentOf(from);
    const target = this.#parentOf(to);
    const node = source.parent.live.get(source.name);
    if (node === undefined) throw systemError('ENOENT', from);
    if (source.parent === target.parent) {
      this.#name(source.parent, [
        [source.name, undefined],
        [target.name, node],
      ]);
    } else {
      this.#name(target.parent, [[target.name, node]]);
      this.#name(source.parent, [[source.name, undefined]]);
    }
    this.operation(`rename ${from} ${to}`);
  }

  async remove(path: string): Promise<void> {
    const { parent, name } = this.#parentOf(path);
    if (!parent.live.has(name)) return;
    this.#name(parent, [[name, undefined]]);
    this.operation(`remove ${path}`);
  }

  async makeDirectory(path: string): Promise<void> {
    let parent = this.#root;
    for (const name of parts(path)) {
      let node = parent.live.get(name);
      if (node === undefined) {
        node = folder();
        this.#name(parent, [[name, node]]);
        this.operation(`mkdir ${path}`);
      }
      if (node.kind === 'file') throw systemError('ENOTDIR', path);
      parent = node;
    }
  }

  async list(path: string): Promise<string[]> {
    const node = this.#find(path);
    if (node === undefined) return [];
    if (node.kind === 'file') throw systemError('ENOTDIR', path);
    return [...node.live.keys()].sort();
  }

  async syncDirectory(path: string): Promise<void> {
    const node = this.#find(path);
    if (node === undefined) throw systemError('ENOENT', path);
    if (node.kind === 'file') throw systemError('ENOTDIR', path);
    this.operation(`syncdir ${path}`, () => {
      node.durable = new Map(node.live);
      node.pending = [];
    });
  }

  // --- the simulation --------------------------------------------------------------------------------------------

  /** Counts an operation. A sync is given as `effect`, and skipped when this disk ignores it. */
  operation(text: string, effect?: () => void): void {
    this.operations += 1;
    const operation = { number: this.operations, text };
    if (effect !== undefined && !this.ignoresSync(operation)) effect();
    this.afterOperation(operation);
  }

  /** Another disk: what a reboot finds if the power is cut now. `random` gives numbers in [0, 1). */
  cut(policy: CutPolicy, random: () => number = () => 0): SimulatedDisk {
    const copies = new Map<Node, Node>();
    const survives = (node: Node): Node => {
      const copied = copies.get(node);
      if (copied !== undefined) return copied;
      const copy = node.kind === 'file' ? cutFile(node, policy, random) : folder();
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

  /** The content of every file, by path: for invariants. */
  contents(): Map<string, Uint8Array> {
    const found = new Map<string, Uint8Array>();
    const walk = (node: FolderNode, prefix: string): void => {
      for (const [name, child] of node.live) {
        if (child.kind === 'file') found.set(`${prefix}/${name}`, child.live);
        else walk(child, `${prefix}/${name}`);
      }
    };
    walk(this.#root, '');
    return found;
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

  #name(parent: FolderNode, change: NameChange): void {
    applyNames(parent.live, change);
    parent.pending.push(change);
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
    return this.#node.live.slice(position, position + length);
  }

  async readInto(into: Uint8Array, position: number): Promise<number> {
    this.#demandAligned(into, position);
    const found = this.#node.live.subarray(position, position + into.length);
    into.set(found);
    return found.length;
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    this.#demandAligned(bytes, position);
    applyWrite(this.#node, { kind: 'write', bytes: bytes.slice(), position });
    this.#disk.operation(`write ${this.#path} ${bytes.length}@${position}`);
  }

  async truncate(lengthBytes: number): Promise<void> {
    applyWrite(this.#node, { kind: 'truncate', lengthBytes });
    this.#disk.operation(`truncate ${this.#path} ${lengthBytes}`);
  }

  async sizeBytes(): Promise<number> {
    return this.#node.live.length;
  }

  async sync(): Promise<void> {
    this.#disk.operation(`sync ${this.#path}`, () => {
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

const EMPTY = new Uint8Array(0);

function folder(): FolderNode {
  return { kind: 'folder', live: new Map(), durable: new Map(), pending: [] };
}

function parts(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

function applyNames(names: Map<string, Node>, change: NameChange): void {
  for (const [name, node] of change) {
    if (node === undefined) names.delete(name);
    else names.set(name, node);
  }
}

function applyWrite(node: FileNode, write: PendingWrite): void {
  node.live = written(node.live, write);
  node.pending.push(write);
}

/** A new array: older ones are shared with disks that were cut off earlier. */
function written(content: Uint8Array, write: PendingWrite): Uint8Array {
  if (write.kind === 'truncate') {
    const cut = new Uint8Array(write.lengthBytes);
    cut.set(content.subarray(0, write.lengthBytes));
    return cut;
  }
  const grown = new Uint8Array(Math.max(content.length, write.position + write.bytes.length));
  grown.set(content);
  grown.set(write.bytes, write.position);
  return grown;
}

function survivingNames(node: FolderNode, policy: CutPolicy, random: () => number): Map<string, Node> {
  if (policy === 'keep') return node.live;
  const names = new Map(node.durable);
  if (policy === 'drop') return names;
  // A journalling file system keeps the order of names in a folder; what it had not committed is gone.
  const kept = Math.floor(random() * (node.pending.length + 1));
  for (const change of node.pending.slice(0, kept)) applyNames(names, change);
  return names;
}

function cutFile(node: FileNode, policy: CutPolicy, random: () => number): FileNode {
  let content = policy === 'keep' ? node.live : node.durable;
  if (policy === 'random') {
    for (const write of node.pending) {
      const chance = random();
      if (chance < 0.4) content = written(content, write);
      else if (chance < 0.8) content = torn(content, write, random);
    }
  }
  return { kind: 'file', live: content, durable: content, pending: [] };
}

/** Some sectors of a write arrive, others do not; the size may have changed all the same. */
function torn(content: Uint8Array, write: PendingWrite, random: () => number): Uint8Array {
  if (write.kind === 'truncate') return content;
  let result = content;
  for (let at = 0; at < write.bytes.length; at += SECTOR_BYTES) {
    if (random() < 0.5) continue;
    const sector = write.bytes.subarray(at, at + SECTOR_BYTES);
    result = written(result, { kind: 'write', bytes: sector, position: write.position + at });
    // A megabyte has many sectors; past a few, more tears tell nothing new.
    if (at > 16 * SECTOR_BYTES) break;
  }
  return result;
}

function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code, path });
}

/** Numbers in [0, 1) from a seed (mulberry32): the same seed, the same numbers. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
