/**
 * SWUpdate from Debian's package: one signed .swu, one raw image, streamed to the slot as it is read
 * (`installed-directly`), its hash checked on the way. Signature and hash are checked as a device would.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { link, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { needProgram } from '../../../scripts/programs.ts';
import { measureProgram } from '../usage.ts';
import { missing } from './packages.ts';
import type { SigningKey } from './signing-key.ts';
import type { InstallSubject, MissingSubject } from './subject.ts';

const PARTS = ['sw-description', 'sw-description.sig', 'rootfs'] as const;

export async function swupdateSubject(
  parent: string,
  image: string,
  slot: string,
  key: SigningKey,
  packing: 'none' | 'zstd',
): Promise<InstallSubject | MissingSubject> {
  const name = `swupdate, raw handler, ${packing === 'none' ? 'not packed' : packing}`;
  const why = missing('swupdate', 'cpio');
  if (why !== undefined) return { name, why };
  const folder = join(parent, `swupdate-${packing}`);
  await mkdir(folder);
  const payload = join(folder, 'rootfs');
  if (packing === 'zstd') await needProgram('zstd', ['-q', '-15', '-T0', image, '-o', payload]);
  else await link(image, payload).catch(() => needProgram('cp', [image, payload]));
  await describe(folder, slot, await sha256Of(payload), packing);
  await sign(folder, key);
  const input = `${PARTS.join('\n')}\n`;
  await needProgram('cpio', ['--quiet', '-o', '-H', 'crc', '-O', join(folder, 'update.swu')], { cwd: folder, input });
  await rm(payload);
  const how = ['-l', '2', '-H', 'acme-cam:1.0', '-k', key.certificateFile, '-i', join(folder, 'update.swu')];
  return { name, writes: true, run: (env) => measureProgram(['swupdate', ...how], { env }) };
}

function describe(folder: string, slot: string, sha256: string, packing: 'none' | 'zstd'): Promise<void> {
  const compressed = packing === 'none' ? '' : `compressed = "${packing}"; `;
  return writeFile(
    join(folder, 'sw-description'),
    `software = {
  version = "2.0.0";
  hardware-compatibility = [ "1.0" ];
  images: ( { filename = "rootfs"; type = "raw"; device = "${slot}"; ${compressed}sha256 = "${sha256}"; installed-directly = true; } );
}
`,
  );
}

async function sign(folder: string, { keyFile, certificateFile }: SigningKey): Promise<void> {
  const description = join(folder, 'sw-description');
  const signing = ['-signer', certificateFile, '-inkey', keyFile, '-outform', 'DER', '-nosmimecap', '-binary'];
  await needProgram('openssl', ['cms', '-sign', '-in', description, '-out', `${description}.sig`, ...signing]);
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest('hex');
}
