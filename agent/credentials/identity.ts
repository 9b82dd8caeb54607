/**
 * What this device shows of itself once it is enrolled: its key and certificate, as they stand on the data partition.
 */
import { type KeyObject, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { type Disk, FileTooLarge } from '../../platform/disk.ts';
import { EXIT, errorText, Fault } from '../../platform/fault.ts';
import { accept, refuse, type Verdict } from '../../trust/refusal.ts';
import { firstBootDirectory } from '../first-boot/first-boot-record.ts';
import { readDeviceKey } from './device-key.ts';

const CHAIN_CAP_BYTES = 16 * 1024;

export interface IdentityPaths {
  readonly key: string;
  readonly certificate: string;
  /** Names the key that the agent made because the first boot had not (enrolment-key.ts). */
  readonly madeHere: string;
  /** The first boot's folder; where the device has none, it is not there. */
  readonly firstBoot: string;
}

export interface Identity {
  readonly deviceId: string;
  readonly privateKeyPem: string;
  /** Leaf first. */
  readonly certificateChainPem: string;
}

export function identityPaths(dataDirectory: string): IdentityPaths {
  return {
    key: join(dataDirectory, 'identity/device.key'),
    certificate: join(dataDirectory, 'identity/device.crt'),
    madeHere: join(dataDirectory, 'identity/made-here'),
    firstBoot: firstBootDirectory(dataDirectory),
  };
}

/** Undefined when the device is not enrolled yet. A certificate that does not fit the key is a Fault. */
export async function readIdentity(disk: Disk, paths: IdentityPaths): Promise<Identity | undefined> {
  const key = await readDeviceKey(disk, paths.key);
  if (key === undefined) return undefined;
  try {
    const bytes = await disk.readFile(paths.certificate, CHAIN_CAP_BYTES);
    if (bytes === undefined) return undefined;
    const certificateChainPem = new TextDecoder().decode(bytes);
    const certificate = new X509Certificate(decodeCertificateChain(certificateChainPem)[0] ?? '');
    if (!certificate.checkPrivateKey(key.privateKey)) throw new Error('it is for another key');
    const deviceId = nameIn(certificate);
    if (deviceId === undefined) throw new Error('it names no device');
    return { deviceId, privateKeyPem: key.privateKeyPem, certificateChainPem };
  } catch (error) {
    if (error instanceof Error && 'syscall' in error) throw error;
    throw new Fault({
      code: 'device-certificate-unreadable',
      what: `the device's certificate cannot be used (${error instanceof FileTooLarge ? 'too large' : errorText(error)})`,
      where: paths.certificate,
      cure: 'Remove the file: with the same claim and key the server gives the same certificate again.',
      exitStatus: EXIT.corrupt,
    });
  }
}

/** A chain that a server answered must be for this device and its key; any other would lock it out of its own server. */
export function checkChain(pem: string, deviceId: string, key: KeyObject): Verdict<undefined> {
  try {
    const [first] = decodeCertificateChain(pem);
    const leaf = first === undefined ? undefined : new X509Certificate(first);
    if (!leaf?.checkPrivateKey(key)) {
      return refuse('answer-malformed', 'a certificate for another key than this device has');
    }
    const named = nameIn(leaf);
    if (named === deviceId) return accept(undefined);
    return refuse('answer-malformed', `a certificate for ${named ?? 'nobody'}, not ${deviceId}`);
  } catch (error) {
    return refuse('answer-malformed', `not a certificate chain: ${errorText(error)}`);
  }
}

function nameIn({ subject }: X509Certificate): string | undefined {
  return /^CN=(.+)$/m.exec(subject)?.[1];
}

/** The PEM blocks of a chain, in order. */
export function decodeCertificateChain(pem: string): string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g) ?? [];
}
