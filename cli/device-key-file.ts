/** A device's public key as people have it: its certificate (or chain, leaf first), or the key alone, in PEM. */
import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { EXIT, Fault } from '../platform/fault.ts';
import { readInputFile } from '../platform/input-file.ts';

const CAP_BYTES = 64 * 1024;
const POINT_BYTES = 65;

export interface DevicePublicKey {
  /** The uncompressed P-256 point. */
  readonly point: Uint8Array;
  /** Only a certificate says it. */
  readonly deviceId: string | undefined;
}

/** Faults: what the disk says, and `device-key-file-malformed`. A certificate's dates and issuer are not judged here. */
export async function readDevicePublicKey(path: string): Promise<DevicePublicKey> {
  const pem = Buffer.from(await readInputFile(path, CAP_BYTES, "a device's certificate or public key")).toString(
    'latin1',
  );
  try {
    const certificate = pem.includes('BEGIN CERTIFICATE') ? new X509Certificate(pem) : undefined;
    return {
      point: pointOf(certificate?.publicKey ?? createPublicKey(pem)),
      deviceId: certificate === undefined ? undefined : /^CN=(.+)$/m.exec(certificate.subject)?.[1],
    };
  } catch (cause) {
    throw new Fault({
      code: 'device-key-file-malformed',
      what: 'this is neither a certificate nor a public key of a device (P-256, PEM)',
      where: path,
      cure: "Give the device's certificate as the server keeps it.",
      exitStatus: EXIT.input,
      cause,
    });
  }
}

function pointOf(key: KeyObject): Uint8Array {
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new Error('not a P-256 key');
  const spki = key.export({ format: 'der', type: 'spki' });
  return Uint8Array.from(spki.subarray(spki.length - POINT_BYTES));
}
