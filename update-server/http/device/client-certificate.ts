/**
 * Who is asking: checked at every request, because a TLS session outlives a revocation. What never changes about a
 * certificate (issuer, signature, use, subject) is checked once per connection; dates and revocation every time.
 */
import { TLSSocket } from 'node:tls';
import type { ServerEvents } from '../../core/events.ts';
import type { ServerClock, Store } from '../../core/ports.ts';
import type { CertificateAuthority } from '../../pki/certificate-authority.ts';
import { type IdentityVerdict, verifyDeviceCertificate, whyOutOfDates } from '../../pki/device-certificate.ts';
import { DeviceApiError } from './errors.ts';

export interface ClientCertificatePorts {
  readonly store: Pick<Store, 'findCertificate' | 'markCertificateUsed'>;
  readonly events: ServerEvents;
  readonly clock: ServerClock;
  readonly deviceAuthority: CertificateAuthority;
}

export class ClientCertificates {
  readonly #ports: ClientCertificatePorts;
  readonly #bySocket = new WeakMap<object, IdentityVerdict>();

  constructor(ports: ClientCertificatePorts) {
    this.#ports = ports;
  }

  /** The device's id. Throws DeviceApiError `no-client-certificate`, `client-certificate-refused` or `device-revoked`. */
  async identify(socket: object): Promise<string> {
    const verdict = this.#bySocket.get(socket) ?? this.#verify(socket);
    if (!verdict.ok) throw certificateRefused(verdict.detail);
    const outOfDates = whyOutOfDates(verdict.value, this.#ports.clock.nowUnixMs());
    if (outOfDates !== undefined) throw certificateRefused(outOfDates);
    const record = await this.#ports.store.findCertificate(verdict.value.fingerprint);
    if (record === undefined || record.deviceId !== verdict.value.deviceId) {
      throw certificateRefused('this server has not issued it');
    }
    if (record.revoked) {
      throw new DeviceApiError(403, {
        code: 'device-revoked',
        what: `the certificate of ${record.deviceId} was revoked`,
        cure: 'Make a new claim for the device if it is trusted again.',
      });
    }
    const nowUnixMs = this.#ports.clock.nowUnixMs();
    if (record.supersededUnixMs !== null && record.supersededUnixMs <= nowUnixMs) {
      throw certificateRefused('a newer one has taken its place');
    }
    if (record.unused) {
      const keptFingerprint = record.fingerprintSha256;
      await this.#ports.store.markCertificateUsed(keptFingerprint, nowUnixMs);
      this.#ports.events.emit({ kind: 'superseded', id: record.deviceId, keptFingerprint });
    }
    return record.deviceId;
  }

  #verify(socket: object): IdentityVerdict {
    const certificate = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined;
    if (certificate === undefined) {
      throw new DeviceApiError(401, {
        code: 'no-client-certificate',
        what: 'this address answers only to devices with their certificate',
        cure: 'Enrol the device first, and connect with the certificate that it got.',
      });
    }
    const verdict = verifyDeviceCertificate(certificate, this.#ports.deviceAuthority);
    this.#bySocket.set(socket, verdict);
    return verdict;
  }
}

const certificateRefused = (detail: string): DeviceApiError =>
  new DeviceApiError(403, {
    code: 'client-certificate-refused',
    what: `the client certificate was refused: ${detail}`,
    cure: 'Use the certificate that this server issued to the device, or enrol it again.',
  });
