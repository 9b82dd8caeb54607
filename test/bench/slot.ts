/** What is installed to: a loop device over a file with direct I/O, so that nothing is cached twice; or a plain file. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { basename, join } from 'node:path';
import { needProgram, runProgram } from '../../scripts/programs.ts';

const MIB = 1024 * 1024;
const SECTOR_BYTES = 512;

export class Slot {
  readonly path: string;
  readonly sizeBytes: number;
  readonly isLoop: boolean;

  private constructor(path: string, sizeBytes: number, isLoop: boolean) {
    this.path = path;
    this.sizeBytes = sizeBytes;
    this.isLoop = isLoop;
  }

  /** Holds `sizeBytes`, a whole number of MiB. */
  static async make(folder: string, sizeBytes: number): Promise<Slot> {
    const file = join(folder, `slot-${sizeBytes / MIB}`);
    await needProgram('fallocate', ['-l', String(sizeBytes), file]);
    const loop = await runProgram('losetup', ['--find', '--show', '--direct-io=on', file]);
    if (loop.status !== 0) return new Slot(file, sizeBytes, false);
    return new Slot(loop.stdout.trim(), sizeBytes, true);
  }

  get kind(): string {
    return this.isLoop ? 'loop device' : 'file';
  }

  /** `major:minor`, as cgroups name devices. */
  get deviceNumbers(): string {
    return readFileSync(`/sys/block/${basename(this.path)}/dev`, 'utf8').trim();
  }

  /** So far, as the kernel counts it; undefined for a file. */
  writtenBytes(): number | undefined {
    if (!this.isLoop) return undefined;
    const fields = readFileSync(`/sys/block/${basename(this.path)}/stat`, 'utf8')
      .trim()
      .split(/\s+/);
    return Number(fields[6]) * SECTOR_BYTES;
  }

  /** Zeros everywhere, on the medium: no run finds what another wrote. */
  async clear(): Promise<void> {
    const count = `count=${this.sizeBytes / MIB}`;
    const how = ['bs=1M', 'oflag=direct', 'conv=notrunc,fsync', 'status=none'];
    await needProgram('dd', ['if=/dev/zero', `of=${this.path}`, count, ...how]);
  }

  /** SHA-256 of the first `sizeBytes`. */
  digest(sizeBytes: number): string {
    const hash = createHash('sha256');
    const piece = Buffer.alloc(MIB);
    const file = openSync(this.path, 'r');
    try {
      for (let at = 0; at < sizeBytes; ) {
        const got = readSync(file, piece, 0, Math.min(piece.length, sizeBytes - at), at);
        if (got === 0) break;
        hash.update(piece.subarray(0, got));
        at += got;
      }
    } finally {
      closeSync(file);
    }
    return hash.digest('hex');
  }

  /** Works also when this run was ended, and no program may start any more. */
  close(): void {
    if (this.isLoop) execFileSync('losetup', ['-d', this.path]);
  }
}
