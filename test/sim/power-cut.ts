/**
 * What a power cut leaves of a simulated disk: of a file, of a folder's names.
 *
 * Two kinds of folders. `journalled` (ext4): names change in order, what was not committed is gone from some point on,
 * and a rename is one change. `unordered` (FAT): every entry survives or not by itself, so that a rename over a file may
 * leave the old one, the new one, both names or neither.
 */
import type { FileContent } from './file-content.ts';

const SECTOR_BYTES = 512;

type PendingWrite =
  | { readonly kind: 'write'; readonly bytes: Uint8Array; readonly position: number }
  | { readonly kind: 'truncate'; readonly lengthBytes: number };

export interface FileNode {
  readonly kind: 'file';
  live: FileContent;
  durable: FileContent;
  pending: PendingWrite[];
}

/** One change of a folder: names set (to a node) or removed. A rename is one change. */
export type NameChange = readonly (readonly [name: string, node: Node | undefined])[];

export interface FolderNode {
  readonly kind: 'folder';
  names: 'journalled' | 'unordered';
  readonly live: Map<string, Node>;
  durable: Map<string, Node>;
  pending: NameChange[];
}

export type Node = FileNode | FolderNode;

export type CutPolicy =
  /** Everything that was not synced is gone. */
  | 'drop'
  /** Everything is there: the process died, the power did not. */
  | 'keep'
  /** Any part of it is there, in any order, torn. */
  | 'random';

export function folderNode(names: FolderNode['names']): FolderNode {
  return { kind: 'folder', names, live: new Map(), durable: new Map(), pending: [] };
}

export function applyNames(names: Map<string, Node>, change: NameChange): void {
  for (const [name, node] of change) {
    if (node === undefined) names.delete(name);
    else names.set(name, node);
  }
}

export function applyWrite(node: FileNode, write: PendingWrite): void {
  node.live = written(node.live, write);
  node.pending.push(write);
}

function written(content: FileContent, write: PendingWrite): FileContent {
  return write.kind === 'truncate'
    ? content.truncated(write.lengthBytes)
    : content.written(write.bytes, write.position);
}

export function survivingNames(node: FolderNode, policy: CutPolicy, random: () => number): Map<string, Node> {
  if (policy === 'keep') return node.live;
  const names = new Map(node.durable);
  if (policy === 'drop') return names;
  if (node.names === 'unordered') {
    for (const change of node.pending) if (random() < 0.5) applyNames(names, change);
    return names;
  }
  // A journalling file system keeps the order of names in a folder; what it had not committed is gone.
  const kept = Math.floor(random() * (node.pending.length + 1));
  for (const change of node.pending.slice(0, kept)) applyNames(names, change);
  return names;
}

export function cutFile(node: FileNode, policy: CutPolicy, random: () => number): FileNode {
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
function torn(content: FileContent, write: PendingWrite, random: () => number): FileContent {
  if (write.kind === 'truncate') return content;
  let result = content;
  for (let at = 0; at < write.bytes.length; at += SECTOR_BYTES) {
    if (random() < 0.5) continue;
    result = result.written(write.bytes.subarray(at, at + SECTOR_BYTES), write.position + at);
    // A megabyte has many sectors; past a few, more tears tell nothing new.
    if (at > 16 * SECTOR_BYTES) break;
  }
  return result;
}
