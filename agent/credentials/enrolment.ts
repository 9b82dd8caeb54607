/**
 * How a device gets its certificate. May be cut anywhere and started again:
 *
 *   1. the key is durable before anything is sent          a cut after this: the same key asks again
 *   2. nonce and request travel on one connection          the proof is bound to it
 *   3. the server keeps claim → key before it answers      an answer lost: same claim, same key, same certificate
 *   4. the certificate is durable before it is used
 *
 * No secret goes to a server whose certificate is out of its dates: the proof is not one, but what follows enrolment
 * may be, so this step waits until the clock or the certificate is right.
 */
import type { TLSSocket } from 'node:tls';
import type { Disk } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import {
  DEVICE_BODY_CAP_BYTES,
  DEVICE_PATHS,
  EnrolAnswer,
  NonceAnswer,
  PROTOCOL_VERSION,
} from '../../protocol/device-api.ts';
import { type ClaimFile, EXPORTER_BYTES, EXPORTER_LABEL, NONCE_BYTES } from '../../protocol/enrolment.ts';
import { accept, refuse, type Verdict } from '../../trust/refusal.ts';
import { SourceUnreachable } from '../core/ports.ts';
import { addressOf, SingleConnection } from '../transport/https-channel.ts';
import { connectSecurely } from '../transport/secure-connection.ts';
import { decodeAnswer } from '../transport/server-link.ts';
import type { ServerEntry } from '../transport/server-pool.ts';
import { makeCertificateRequest } from './certificate-request.ts';
import { proveClaim } from './claim.ts';
import type { DeviceKey } from './device-key.ts';
import { readOrMakeDeviceKey } from './enrolment-key.ts';
import { checkChain, type Identity, type IdentityPaths } from './identity.ts';

/** The server is ours, but its certificate is out of its dates: enrolment waits. */
export class EnrolmentMustWait extends SourceUnreachable {}

/** Throws SourceUnreachable (try again), ServerSaidNo (the claim is refused), or a Fault (files on this device). */
export async function enrol(
  disk: Disk,
  claim: ClaimFile,
  server: ServerEntry,
  paths: IdentityPaths,
): Promise<Verdict<Identity>> {
  const key = await readOrMakeDeviceKey(disk, paths);
  const url = new URL(server.url);
  const connection = await connectSecurely(addressOf(url, server.anchors), undefined);
  if (!connection.ok) return connection;
  const { socket, outOfDates, detail } = connection.value;
  try {
    if (outOfDates) throw new EnrolmentMustWait(`enrolment waits: ${detail}`);
    const answer = await exchange(socket, url, claim, key);
    if (!answer.ok) return answer;
    const { deviceId, certificateChain } = answer.value;
    if (deviceId !== claim.claimId)
      return refuse('answer-malformed', `a certificate for ${deviceId}, not ${claim.claimId}`);
    const chain = checkChain(certificateChain, deviceId, key.privateKey);
    if (!chain.ok) return chain;
    await writeDurably(disk, paths.certificate, new TextEncoder().encode(certificateChain));
    return accept({ deviceId, privateKeyPem: key.privateKeyPem, certificateChainPem: certificateChain });
  } finally {
    socket.destroy();
  }
}

async function exchange(socket: TLSSocket, url: URL, claim: ClaimFile, key: DeviceKey): Promise<Verdict<EnrolAnswer>> {
  // Both requests travel on the connection that the exporter belongs to.
  const server = new SingleConnection(socket, url);
  const exporter = socket.exportKeyingMaterial(EXPORTER_BYTES, EXPORTER_LABEL, Buffer.alloc(0));
  const post = async <T>(
    path: string,
    message: unknown,
    decode: (answer: Parameters<typeof decodeAnswer>[0]) => Verdict<T>,
  ): Promise<Verdict<T>> => {
    const body = new TextEncoder().encode(JSON.stringify(message));
    const answer = await server.request({ method: 'POST', path, body, capBytes: DEVICE_BODY_CAP_BYTES });
    return answer.ok ? decode(answer.value) : answer;
  };
  const nonce = await post(DEVICE_PATHS.enrolNonce, { protocol: PROTOCOL_VERSION, claimId: claim.claimId }, (answer) =>
    decodeAnswer(answer, DEVICE_PATHS.enrolNonce, NonceAnswer),
  );
  if (!nonce.ok) return nonce;
  const nonceBytes = Buffer.from(nonce.value.nonce, 'base64url');
  if (nonceBytes.length !== NONCE_BYTES)
    return refuse('answer-malformed', `a nonce of ${nonceBytes.length} bytes, not ${NONCE_BYTES}`);
  const certificateRequest = makeCertificateRequest(key.privateKey, claim.claimId);
  const request = {
    protocol: PROTOCOL_VERSION,
    claimId: claim.claimId,
    nonce: nonce.value.nonce,
    certificateRequest: Buffer.from(certificateRequest).toString('base64url'),
    proof: proveClaim(claim, { nonce: nonceBytes, exporter, certificateRequest }),
  };
  return post(DEVICE_PATHS.enrol, request, (answer) => decodeAnswer(answer, DEVICE_PATHS.enrol, EnrolAnswer));
}
