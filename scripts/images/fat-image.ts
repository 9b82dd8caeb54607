/**
 * Makes a FAT boot partition image without root rights, the same bytes for the same files: a fixed volume id and a
 * fixed clock (mtools and mkfs.fat both take it from SOURCE_DATE_EPOCH).
 */
import { mkdir, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { needProgram } from '../programs.ts';
import { IMAGE_TIME_UNIX_S, IMAGE_TOOL_ENV } from './ext4-image.ts';

export interface FatRequest {
  readonly outFile: string;
  readonly sizeBytes: number;
  /** Names in the root folder; written in the order given. */
  readonly files: readonly { readonly name: string; readonly bytes: Uint8Array }[];
  readonly workDirectory: string;
}

export async function makeFatImage(request: FatRequest): Promise<void> {
  const { outFile, sizeBytes, files, workDirectory } = request;
  await mkdir(workDirectory, { recursive: true });
  await rm(outFile, { force: true });
  try {
    const kib = String(Math.floor(sizeBytes / 1024));
    await needProgram('mkfs.fat', ['--invariant', '-i', '48464246', '-n', 'BOOT', '-C', outFile, kib], {
      env: IMAGE_TOOL_ENV,
    });
    for (const { name, bytes } of files) {
      const source = join(workDirectory, name);
      await writeFile(source, bytes);
      await utimes(source, IMAGE_TIME_UNIX_S, IMAGE_TIME_UNIX_S);
      await needProgram('mcopy', ['-m', '-i', outFile, source, `::${name}`], {
        env: { ...IMAGE_TOOL_ENV, MTOOLS_SKIP_CHECK: '1' },
      });
    }
  } finally {
    await rm(workDirectory, { recursive: true, force: true });
  }
}
