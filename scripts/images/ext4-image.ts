/**
 * Makes an ext4 image without root rights and without loop mounts, the same bytes for the same tree: mke2fs makes the
 * empty file system with fixed identifiers and a fixed clock, debugfs writes the files in the order of their paths.
 * (`mke2fs -d` would keep the change times of the files it copies, which nobody can set.)
 */
import { chmod, mkdir, rm, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { EXIT, Fault } from '../../platform/fault.ts';
import { needProgram } from '../programs.ts';
import type { ImageFile } from './image-tree.ts';

/** Every time in an image, Unix seconds: 2025-01-01. */
export const IMAGE_TIME_UNIX_S = 1_735_689_600;
/** Bytes of an image that the file system itself needs, beside its files. */
export const EXT4_OVERHEAD_SHARE = 0.06;
const FILE_SYSTEM_ID = '6f0d1a3e-5b1f-4c56-9f0e-aacaacaacaac';

/** mke2fs and debugfs lie where only root's path leads; their clock is fixed, their words are English. */
export const IMAGE_TOOL_ENV = {
  PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`,
  E2FSPROGS_FAKE_TIME: String(IMAGE_TIME_UNIX_S),
  SOURCE_DATE_EPOCH: String(IMAGE_TIME_UNIX_S),
  MKE2FS_CONFIG: '/dev/null',
  DEBUGFS_PAGER: 'cat',
  TZ: 'UTC',
  LC_ALL: 'C',
} as const;

export interface Ext4Request {
  readonly outFile: string;
  readonly sizeBytes: number;
  readonly files: readonly ImageFile[];
  /** `rootfs` unless given. */
  readonly label?: string;
  /** For what is written to on a device; an image of a slot is not. */
  readonly journal?: boolean;
  /** A folder for passing files; made and removed. */
  readonly workDirectory: string;
  readonly onFile?: (written: number) => void;
}

const FEATURES = '^resize_inode,^orphan_file,extent,dir_index,metadata_csum';

export async function makeExt4Image(request: Ext4Request): Promise<void> {
  const { outFile, sizeBytes, files, workDirectory, label = 'rootfs', journal = false } = request;
  await mkdir(workDirectory, { recursive: true });
  await rm(outFile, { force: true });
  await writeFile(outFile, '');
  await truncate(outFile, sizeBytes);
  const inodes = String(Math.ceil(files.length * 1.25) + 128);
  await needProgram(
    'mke2fs',
    [
      '-q',
      '-F',
      '-t',
      'ext4',
      '-b',
      '4096',
      '-m',
      '0',
      '-N',
      inodes,
      '-I',
      '256',
      '-L',
      label,
      '-U',
      FILE_SYSTEM_ID,
    ].concat([
      '-O',
      `${journal ? '' : '^'}has_journal,${FEATURES}`,
      '-E',
      `hash_seed=${FILE_SYSTEM_ID},root_owner=0:0,lazy_itable_init=0,nodiscard`,
      outFile,
    ]),
    { env: IMAGE_TOOL_ENV },
  );
  try {
    const script = join(workDirectory, 'commands');
    await writeFile(script, await debugfsScript(files, workDirectory));
    let written = 0;
    const result = await needProgram('debugfs', ['-w', '-f', script, outFile], {
      env: IMAGE_TOOL_ENV,
      onStdout(text) {
        written += text.split('Allocated inode').length - 1;
        request.onFile?.(written);
      },
    });
    refuseComplaints(result.stderr, outFile);
  } finally {
    await rm(workDirectory, { recursive: true, force: true });
  }
}

/** Commands that make every folder, then every file, each in the order of its path. */
async function debugfsScript(files: readonly ImageFile[], workDirectory: string): Promise<string> {
  const sorted = files.toSorted((left, right) => (left.path < right.path ? -1 : 1));
  const folders = new Set<string>();
  for (const { path } of sorted) {
    for (let folder = dirname(path); folder !== '/'; folder = dirname(folder)) folders.add(folder);
  }
  const lines = [...folders].sort().map((folder) => `mkdir ${folder}`);
  for (const [index, file] of sorted.entries()) {
    const source = await sourceOf(file, join(workDirectory, String(index)));
    const name = file.path.slice(file.path.lastIndexOf('/') + 1);
    // `write` gives the file the owner and mode of its source: both are set, whoever runs this.
    const mode = (0o100000 | file.mode).toString(8);
    lines.push(
      `cd ${dirname(file.path)}`,
      `write ${source} ${name}`,
      `sif ${name} mode 0${mode}`,
      `sif ${name} uid 0`,
      `sif ${name} gid 0`,
    );
  }
  return `${lines.join('\n')}\n`;
}

async function sourceOf(file: ImageFile, passingFile: string): Promise<string> {
  if (file.content.kind === 'file') return file.content.source;
  await writeFile(passingFile, file.content.bytes);
  await chmod(passingFile, 0o644);
  return passingFile;
}

/** debugfs ends with status 0 whatever happens; what went wrong stands on stderr, after its banner. */
export function refuseComplaints(stderr: string, outFile: string): void {
  const complaints = stderr.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('debugfs 1.'));
  if (complaints.length === 0) return;
  throw new Fault({
    code: 'image-not-made',
    what: `debugfs could not write everything: ${complaints.slice(0, 3).join(' | ')}`,
    where: outFile,
    cure: 'Give the image more room, or free space on the disk.',
    exitStatus: EXIT.environment,
  });
}
