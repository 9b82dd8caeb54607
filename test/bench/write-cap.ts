/**
 * A cap on what may be written to a block device: the kernel's own (blkio of cgroup v1), on the group that everything
 * here belongs to and on the root group, where the kernel's write-back is counted. So it holds for direct and for
 * buffered writing alike; `prove` shows it with dd before it is believed.
 *
 * May not: stay behind. Who applies it lifts it.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Row } from './measure.ts';
import { rowOf } from './measure.ts';
import type { Slot } from './slot.ts';
import { type Command, measureProgram } from './usage.ts';

export const CAP_BYTES_PER_S = 25_000_000;
const PROOF_MIB = 64;
const MIB = 1024 * 1024;
/** A bucket lets through a little at first. Above this it is no cap. */
const BELIEVED_MB_PER_S = 28;
const FILE = 'blkio.throttle.write_bps_device';

/** Files that set the cap, or why there are none. */
export function findWriteCap(
  mounts = readFileSync('/proc/mounts', 'utf8'),
  groups = readFileSync('/proc/self/cgroup', 'utf8'),
): { readonly files: readonly string[] } | { readonly why: string } {
  const mount = mounts.split('\n').find((line) => {
    const [, , type, options = ''] = line.split(' ');
    return type === 'cgroup' && options.split(',').includes('blkio');
  });
  const folder = mount?.split(' ')[1];
  if (folder === undefined) {
    return { why: 'no blkio controller of cgroup v1 (systemd.unified_cgroup_hierarchy=0 on the kernel command line)' };
  }
  const own = /^\d+:(?:[^:]*,)?blkio(?:,[^:]*)?:(.*)$/m.exec(groups)?.[1] ?? '/';
  const files = [...new Set([join(folder, FILE), join(folder, own, FILE)])];
  return files.every((file) => existsSync(file))
    ? { files }
    : { why: `${files.join(', ')}: the kernel cannot throttle` };
}

/** Runs `work` while at most so many bytes a second go to `slot`. */
export async function capped<T>(slot: Slot, files: readonly string[], work: () => Promise<T>): Promise<T> {
  const set = (bytesPerS: number): void => {
    for (const file of files) writeFileSync(file, `${slot.deviceNumbers} ${bytesPerS}\n`);
  };
  set(CAP_BYTES_PER_S);
  try {
    return await work();
  } finally {
    set(0);
  }
}

/** What dd reaches under the cap, both ways. Throws when the cap does not hold. */
export async function proveCap(slot: Slot, files: readonly string[], runs: number): Promise<Row[]> {
  const dd: Command = ['dd', 'if=/dev/zero', `of=${slot.path}`, 'bs=1M', `count=${PROOF_MIB}`, 'status=none'];
  const rows: Row[] = [];
  for (const [name, ways] of [
    ['oflag=direct', ['oflag=direct', 'conv=notrunc']],
    ['conv=fsync', ['conv=notrunc,fsync']],
  ] as const) {
    const rates: number[] = [];
    for (let run = 0; run < runs; run += 1) {
      const { wallS } = await capped(slot, files, () => measureProgram([...dd, ...ways]));
      rates.push((PROOF_MIB * MIB) / 1e6 / wallS);
    }
    const row = rowOf('capped at 25 MB/s: rate', `dd bs=1M ${name}, 64 MiB`, rates, 'MB/s');
    if (row.max > BELIEVED_MB_PER_S) throw new Error(`the cap does not hold: dd ${name} wrote ${row.max} MB/s`);
    rows.push(row);
  }
  return rows;
}
