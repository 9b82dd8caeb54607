/**
 * dm-verity of a root file system: a tree of SHA-256 hashes behind the image, in the same partition, whose root stands
 * for every byte. The same image gives the same tree. Made without device mapper and without root.
 */
import { stat } from 'node:fs/promises';
import { sha256OfFile } from '../file-digest.ts';
import { IMAGE_TOOL_ENV } from '../images/ext4-image.ts';
import { needProgram } from '../programs.ts';

/** Of data and of hashes: what the kernel reads at once. */
export const VERITY_BLOCK_BYTES = 4096;

export interface VerityRoot {
  /** Of the file system; the tree begins behind them. */
  readonly dataBlocks: number;
  /** SHA-256, in hex. */
  readonly rootHash: string;
  /** Hex. Not a secret. */
  readonly salt: string;
}

/**
 * Appends the tree to the image, whose length must be a multiple of VERITY_BLOCK_BYTES. The salt is the image's own
 * digest: it keeps hashes that were computed for one image from being of use against another, and needs no random
 * number, so that the same inputs go on giving the same bytes. No superblock: what is in it stands, signed, in VerityRoot.
 */
export async function appendVerityTree(image: string): Promise<VerityRoot> {
  const { size } = await stat(image);
  if (size === 0 || size % VERITY_BLOCK_BYTES !== 0) throw new Error(`${image} has ${size} bytes, not whole blocks`);
  const salt = await sha256OfFile(image);
  const dataBlocks = size / VERITY_BLOCK_BYTES;
  const block = String(VERITY_BLOCK_BYTES);
  const form = [
    '--no-superblock',
    '--format=1',
    '--hash=sha256',
    '--data-block-size',
    block,
    '--hash-block-size',
    block,
  ];
  const place = ['--data-blocks', String(dataBlocks), '--hash-offset', String(size), '--salt', salt];
  const { stdout } = await needProgram('veritysetup', ['format', ...form, ...place, image, image], {
    env: IMAGE_TOOL_ENV,
  });
  const rootHash = /^Root hash:\s*([0-9a-f]{64})$/m.exec(stdout)?.[1];
  if (rootHash === undefined) throw new Error(`veritysetup named no root hash: ${stdout}`);
  return { dataBlocks, rootHash, salt };
}

/** What board/verity-init reads. */
export function verityLine({ dataBlocks, rootHash, salt }: VerityRoot): string {
  return `${dataBlocks} ${rootHash} ${salt}\n`;
}
