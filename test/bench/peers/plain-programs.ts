/** dd, sha256sum and zstd: what moving, hashing and unpacking the same bytes costs by itself. */
import { join } from 'node:path';
import { needProgram } from '../../../scripts/programs.ts';
import { type Command, measureProgram } from '../usage.ts';
import type { InstallSubject } from './subject.ts';

export async function plainPrograms(folder: string, image: string, slot: string): Promise<InstallSubject[]> {
  const packed = join(folder, 'image.zst');
  await needProgram('zstd', ['-q', '-3', '-f', image, '-o', packed]);
  const dd: Command = ['dd', `if=${image}`, `of=${slot}`, 'bs=1M', 'status=none'];
  return [
    subject('dd bs=1M conv=fsync', true, [...dd, 'conv=fsync,notrunc']),
    subject('dd bs=1M oflag=direct', true, [...dd, 'oflag=direct', 'conv=notrunc']),
    subject('sha256sum', false, ['sha256sum', image]),
    subject('zstd -d, of zstd -3', false, ['zstd', '-q', '-d', '-f', packed, '-o', '/dev/null']),
  ];
}

function subject(name: string, writes: boolean, command: Command): InstallSubject {
  return { name, writes, run: (env) => measureProgram(command, { env }) };
}
