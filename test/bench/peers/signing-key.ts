/** A key and its self-signed certificate, made for one run, by which rauc and swupdate believe their bundles. */
import { join } from 'node:path';
import { needProgram } from '../../../scripts/programs.ts';

export interface SigningKey {
  readonly keyFile: string;
  readonly certificateFile: string;
}

export async function makeSigningKey(folder: string): Promise<SigningKey> {
  const key = { keyFile: join(folder, 'key.pem'), certificateFile: join(folder, 'certificate.pem') };
  const usage = 'extendedKeyUsage=emailProtection,codeSigning';
  const subject = ['-subj', '/CN=bench', '-days', '30', '-addext', usage];
  const out = ['-keyout', key.keyFile, '-out', key.certificateFile];
  await needProgram('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', ...out, ...subject]);
  return key;
}
