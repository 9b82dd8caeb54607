/**
 * What a device needs beside the package, as its maker would bring it: a root that a ceremony signed, a claim, the
 * server's authority, and the answers for adopt. Made afresh; the server is one that does not answer.
 */
import { randomBytes } from 'node:crypto';
import { chmod, copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildBundle } from '../../build.ts';
import { needProgram } from '../../programs.ts';

export async function makeDeviceFiles(root: string, folder: string): Promise<string> {
  const files = join(folder, 'device-files');
  await mkdir(files, { recursive: true });
  await buildBundle('cli');
  const passphrase = join(folder, 'passphrase');
  await writeFile(passphrase, `${randomBytes(24).toString('base64url')}\n`, { mode: 0o600 });
  await needProgram(join(root, 'bin/holdfast'), [
    ...['keys', 'init', '--people', '3', '--dir', join(folder, 'ceremony'), '--vendor', 'acme.example'],
    ...['--class', 'acme-cam', '--passphrase-file', passphrase],
  ]);
  await copyFile(join(folder, 'ceremony/public/1.root.json'), join(files, 'root.json'));
  await needProgram('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '30'],
    ...[
      '-subj',
      '/CN=server authority',
      '-keyout',
      join(folder, 'authority.key'),
      '-out',
      join(files, 'server-ca.pem'),
    ],
  ]);
  const claim = {
    format: 'holdfast-claim-1',
    claimId: 'cam-0001',
    hardwareClass: 'acme-cam',
    secret: randomBytes(32).toString('base64url'),
    expiresUnixMs: Date.now() + 3600_000,
  };
  await writeFile(join(files, 'claim.json'), JSON.stringify(claim), { mode: 0o600 });
  const answers = {
    vendor: 'acme.example',
    hardwareClass: 'acme-cam',
    channel: 'stable',
    environment: 'rehearsal',
    server: { url: 'https://localhost:1' },
  };
  await writeFile(join(files, 'answers.json'), JSON.stringify(answers));
  return files;
}

/** Into /etc/holdfast of a root, as somebody with a shell there would. */
export async function placeDeviceFiles(files: string, root: string): Promise<void> {
  for (const name of ['root.json', 'server-ca.pem', 'claim.json', 'answers.json']) {
    const target = join(root, 'etc/holdfast', name);
    await copyFile(join(files, name), target);
    await chmod(target, name === 'claim.json' ? 0o600 : 0o644);
  }
}
