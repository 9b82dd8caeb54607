/**
 * What devices say over MQTT, on its way to the store: presence, one write after the other for each device and each of
 * what holds when its turn comes; status, written at most so often. Both are shown, never decided on; a write that
 * fails is logged and forgotten.
 */
import type { StatusMessage } from '../../protocol/mqtt-topics.ts';
import type { ServerEvents } from '../core/events.ts';
import type { ServerClock, Store } from '../core/ports.ts';
import type { Session, Sessions } from './sessions.ts';

/** Telemetry comes as often as a device likes. */
const STATUS_INTERVAL_MS = 250;

export interface TelemetryPorts {
  readonly store: Pick<Store, 'recordPresence' | 'recordStatus'>;
  readonly events: ServerEvents;
  readonly clock: ServerClock;
  readonly log: { warn(facts: object, message: string): void };
}

export class Telemetry {
  readonly #ports: TelemetryPorts;
  readonly #sessions: Sessions;
  readonly #statusWrittenUnixMs = new WeakMap<Session, number>();
  readonly #presenceWrites = new Map<string, Promise<void>>();

  constructor(ports: TelemetryPorts, sessions: Sessions) {
    this.#ports = ports;
    this.#sessions = sessions;
  }

  notePresence(deviceId: string): void {
    const before = this.#presenceWrites.get(deviceId) ?? Promise.resolve();
    const written = before.then(async () => {
      const { store, clock } = this.#ports;
      const presence = this.#sessions.presenceOf(deviceId);
      await this.#write(deviceId, () => store.recordPresence(deviceId, presence, clock.nowUnixMs()));
      if (this.#presenceWrites.get(deviceId) === written) this.#presenceWrites.delete(deviceId);
    });
    this.#presenceWrites.set(deviceId, written);
  }

  takeStatus(session: Session, status: StatusMessage): void {
    const { store, clock } = this.#ports;
    const { deviceId } = session.identity;
    const now = clock.nowUnixMs();
    if (now - (this.#statusWrittenUnixMs.get(session) ?? 0) < STATUS_INTERVAL_MS) return;
    this.#statusWrittenUnixMs.set(session, now);
    void this.#write(deviceId, () => store.recordStatus(deviceId, status, now));
  }

  /** Waits for the writes that are under way. */
  async settle(): Promise<void> {
    await Promise.all(this.#presenceWrites.values());
  }

  async #write(deviceId: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#ports.events.emit({ kind: 'device', id: deviceId });
    } catch (error) {
      this.#ports.log.warn({ err: error, deviceId }, 'what a device said over MQTT was not written');
    }
  }
}
