/**
 * erofs, read without mounting and without another program: fsck.erofs would make paths of this machine of the image's
 * names, and Debian 12's dump.erofs gives no file out. What is known stands in readers/erofs-inodes.ts.
 */
import type { ByteSource } from '../byte-source.ts';
import type { ImageTree } from '../tree.ts';
import { ErofsInodes } from './erofs-inodes.ts';
import { treeOfInodes } from './inode-tree.ts';

export const isErofs = (source: ByteSource): boolean => ErofsInodes.is(source);

/** Throws Unreadable for a file system that is damaged as a whole, or of a kind that is not known. */
export function readErofs(source: ByteSource): ImageTree {
  const inodes = new ErofsInodes(source);
  return treeOfInodes('erofs', inodes.root, inodes);
}
