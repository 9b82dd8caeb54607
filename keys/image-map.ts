/**
 * One pass over an image of any size: its digest and its block map, with a buffer of one block. Also the check, before
 * each signature, that an image is still the one that was built.
 */
import { open, stat } from 'node:fs/promises';
import { faultOfSystemError } from '../platform/command-line.ts';
import { EXIT, Fault } from '../platform/fault.ts';
import {
  BLOCK_BYTES,
  BLOCK_MAP_CAP_BYTES,
  BlockMapBuilder,
  blockMapSizeBytes,
  encodeBlockMap,
} from '../trust/blocks.ts';

export interface MappedImage {
  readonly sizeBytes: number;
  /** Hex, of the whole image. */
  readonly sha256: string;
  /** Encoded block map. */
  readonly blockMap: Uint8Array;
}

/** Called after each block with the bytes done so far. */
export type ImageProgress = (doneBytes: number) => void;

function imageFault(code: string, what: string, where: string, cure: string): Fault {
  return new Fault({ code, what, where, cure, exitStatus: EXIT.input });
}

/** Size of an image file. Faults: `path-…`, `image-empty`, `image-too-large`, `path-kind-wrong` for anything but a file. */
export async function imageSizeBytes(path: string): Promise<number> {
  const facts = await stat(path).catch((error: unknown) => {
    throw faultOfSystemError(error, path) ?? error;
  });
  if (!facts.isFile()) {
    throw imageFault('path-kind-wrong', 'this is not a file', path, 'Give the path of an image file.');
  }
  if (facts.size === 0) {
    throw imageFault('image-empty', 'the image has no bytes', path, 'Check the build that made the image.');
  }
  if (blockMapSizeBytes(facts.size) > BLOCK_MAP_CAP_BYTES) {
    throw imageFault(
      'image-too-large',
      `the image has ${facts.size} bytes, more than a block map may name`,
      path,
      'Split the image into components.',
    );
  }
  return facts.size;
}

/**
 * Reads the image once. Fault `image-changed` when it grew or shrank while it was read. Memory: one block.
 */
export async function mapImage(path: string, onProgress: ImageProgress = () => undefined): Promise<MappedImage> {
  const expectedBytes = await imageSizeBytes(path);
  const builder = new BlockMapBuilder();
  const file = await open(path, 'r').catch((error: unknown) => {
    throw faultOfSystemError(error, path) ?? error;
  });
  try {
    const buffer = Buffer.allocUnsafe(BLOCK_BYTES);
    let doneBytes = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, doneBytes);
      if (bytesRead === 0) break;
      builder.update(buffer.subarray(0, bytesRead));
      doneBytes += bytesRead;
      if (doneBytes > expectedBytes) break;
      onProgress(doneBytes);
    }
    if (doneBytes !== expectedBytes) {
      throw imageFault(
        'image-changed',
        'the image changed while it was read',
        path,
        'Wait until whatever writes it has finished, then build again.',
      );
    }
  } finally {
    await file.close();
  }
  const { map, imageSizeBytes: sizeBytes, sha256 } = builder.finish();
  return { sizeBytes, sha256, blockMap: encodeBlockMap(map) };
}
