/** Who a TLS connection to the broker belongs to, and whether that certificate is still good. */
import type { TLSSocket } from 'node:tls';
import type { ServerClock, Store } from '../core/ports.ts';
import type { CertificateAuthority } from '../pki/certificate-authority.ts';
import { type DeviceIdentity, verifyDeviceCertificate, whyOutOfDates } from '../pki/device-certificate.ts';
import type { MqttRefusal } from './rules.ts';

export interface ConnectionCheckPorts {
  readonly store: Pick<Store, 'findCertificate'>;
  readonly clock: ServerClock;
  readonly deviceAuthority: CertificateAuthority;
}

export type ConnectionVerdict<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly code: MqttRefusal; readonly detail: string };

const no = (code: MqttRefusal, detail: string) => ({ ok: false, code, detail }) as const;

/** The device that the certificate is signed for; says nothing yet of dates and revocation. */
export function identifyConnection(
  socket: TLSSocket,
  deviceAuthority: CertificateAuthority,
): ConnectionVerdict<DeviceIdentity> {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return no('mqtt-no-certificate', 'connection');
  const verdict = verifyDeviceCertificate(certificate, deviceAuthority);
  return verdict.ok ? verdict : no('mqtt-certificate-refused', verdict.detail);
}

/** Dates, and what the store says of this very certificate. */
export async function checkStanding(
  ports: ConnectionCheckPorts,
  identity: DeviceIdentity,
): Promise<ConnectionVerdict<undefined>> {
  const outOfDates = whyOutOfDates(identity, ports.clock.nowUnixMs());
  if (outOfDates !== undefined) return no('mqtt-certificate-refused', outOfDates);
  const record = await ports.store.findCertificate(identity.fingerprint);
  if (record?.deviceId !== identity.deviceId) return no('mqtt-certificate-refused', 'not issued by this server');
  if (record.supersededUnixMs !== null && record.supersededUnixMs <= ports.clock.nowUnixMs()) {
    return no('mqtt-certificate-refused', 'a newer one has taken its place');
  }
  return record.revoked ? no('mqtt-device-revoked', 'connection') : { ok: true, value: undefined };
}
