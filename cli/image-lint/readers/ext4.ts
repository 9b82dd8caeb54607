/**
 * ext2, ext3 and ext4, read without mounting and without another program: an image from elsewhere may be hostile, and
 * this reader can at worst say that it is. Layout: Linux kernel, Documentation/filesystems/ext4.
 *
 * Known: extents and block maps, blocks of 1 to 64 KiB, 64bit, flex_bg, meta_bg, inline data, large folders. Not known:
 * encrypted and compressed files, external journals. A journal that waits is not replayed: the image is read as it lies.
 *
 * Invariants: every number is checked against the image's size or a cap before it is used, and each folder is read once.
 */
import type { ByteSource } from '../byte-source.ts';
import type { ImageTree } from '../tree.ts';
import { Ext4Inodes, INODE } from './ext4-inodes.ts';
import { type NamedInode, treeOfInodes } from './inode-tree.ts';

export function isExt4(source: ByteSource): boolean {
  return source.sizeBytes > 2048 && source.read(1024 + 0x38, 2).readUInt16LE(0) === 0xef53;
}

/** Throws Unreadable for a file system that is damaged as a whole, or of a kind that is not known. */
export function readExt4(source: ByteSource): ImageTree {
  const inodes = Ext4Inodes.open(source);
  return treeOfInodes('ext4', INODE.root, {
    inode: (number) => inodes.inode(number),
    content: (inode, capBytes) => inodes.content(inode, capBytes),
    names: (inode) => namesOf(inodes.folderBytes(inode)),
  });
}

/** Blocks of folder entries; those of an index look like one unused entry. */
function namesOf(pieces: readonly Buffer[]): NamedInode[] {
  const found: NamedInode[] = [];
  for (const bytes of pieces) {
    for (let at = 0; at + 8 <= bytes.length; ) {
      const number = bytes.readUInt32LE(at);
      const stored = bytes.readUInt16LE(at + 4);
      // 64 KiB does not fit into 16 bits.
      const length = stored === 65535 || stored === 0 ? 65536 : stored;
      const nameBytes = bytes[at + 6] ?? 0;
      if (length < 8 || at + length > bytes.length || 8 + nameBytes > length) break;
      if (number !== 0 && nameBytes > 0)
        found.push({ name: bytes.toString('utf8', at + 8, at + 8 + nameBytes), number });
      at += length;
    }
  }
  return found;
}
