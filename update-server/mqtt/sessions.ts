/**
 * Live connections to the broker by device, and what they say of its presence. A device is here while one of its
 * sessions is up and has not said otherwise: a last will that arrives late cannot make a device vanish that came back.
 */
import type { TLSSocket } from 'node:tls';
import type { DeviceIdentity } from '../pki/device-certificate.ts';

export interface Session {
  readonly identity: DeviceIdentity;
  readonly socket: TLSSocket;
  /** The broker has accepted its CONNECT. */
  ready: boolean;
  /** What the device last said about itself on this session. */
  said: 'here' | 'gone';
}

/** A device reconnects before the old connection is seen to be dead; more than this is a fault or an attack. */
export const SESSIONS_PER_DEVICE = 4;

export class Sessions {
  readonly #byDevice = new Map<string, Set<Session>>();

  /** Undefined when the device has too many already. The session is forgotten when its socket closes. */
  open(identity: DeviceIdentity, socket: TLSSocket): Session | undefined {
    const open = this.#byDevice.get(identity.deviceId) ?? new Set<Session>();
    if (open.size >= SESSIONS_PER_DEVICE) return undefined;
    const session: Session = { identity, socket, ready: false, said: 'here' };
    this.#byDevice.set(identity.deviceId, open.add(session));
    return session;
  }

  close(session: Session): void {
    const { deviceId } = session.identity;
    const open = this.#byDevice.get(deviceId);
    open?.delete(session);
    if (open?.size === 0) this.#byDevice.delete(deviceId);
  }

  of(deviceId: string): readonly Session[] {
    return [...(this.#byDevice.get(deviceId) ?? [])];
  }

  all(): readonly Session[] {
    return [...this.#byDevice.values()].flatMap((open) => [...open]);
  }

  presenceOf(deviceId: string): 'here' | 'gone' {
    return this.of(deviceId).some((session) => session.ready && session.said === 'here') ? 'here' : 'gone';
  }

  /** Is the client id held by a ready session with another certificate? */
  heldByAnother(identity: DeviceIdentity): boolean {
    return this.of(identity.deviceId).some(
      (session) => session.ready && session.identity.fingerprint !== identity.fingerprint,
    );
  }
}
