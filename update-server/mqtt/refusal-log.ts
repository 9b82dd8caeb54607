/**
 * Refusals on the broker, in the audit log: bounded, so that a device gone mad can neither fill the log nor hide another
 * device's entries. For each peer and code: a burst of entries, then one each half minute that says how many were left out.
 */
import type { ServerEvents } from '../core/events.ts';
import type { ServerClock, Store } from '../core/ports.ts';
import { MQTT_REFUSALS, type MqttRefusal } from './rules.ts';

const BURST = 5;
const REFILL_MS = 30_000;
const PEERS_CAP = 10_000;

interface Bucket {
  tokens: number;
  refilledUnixMs: number;
  leftOut: number;
}

export interface RefusalLogPorts {
  readonly store: Pick<Store, 'appendAudit'>;
  readonly events: ServerEvents;
  readonly clock: ServerClock;
  readonly log: { warn(facts: object, message: string): void };
}

export class RefusalLog {
  readonly #ports: RefusalLogPorts;
  readonly #buckets = new Map<string, Bucket>();

  constructor(ports: RefusalLogPorts) {
    this.#ports = ports;
  }

  /** `peer` is `device:<id>` or `address:<ip>`; `detail` what it tried, for a person. Never throws. */
  record(peer: string, code: MqttRefusal, detail: string): void {
    const leftOut = this.#take(`${peer} ${code}`);
    if (leftOut === undefined) return;
    const more = leftOut === 0 ? '' : ` (${leftOut} more like it were left out)`;
    this.#ports.log.warn({ peer, code, detail }, 'mqtt refused');
    const entry = {
      actor: peer,
      action: 'mqtt-refused',
      subject: code,
      detail: `${detail.slice(0, 512)}${more}: ${MQTT_REFUSALS[code]}`,
    };
    this.#ports.store.appendAudit(entry, this.#ports.clock.nowUnixMs()).then(
      (written) => this.#ports.events.emit({ kind: 'audit', id: String(written.index) }),
      (error: unknown) => this.#ports.log.warn({ err: error }, 'a refusal could not be written to the audit log'),
    );
  }

  /** How many were left out since the last entry; undefined when this one is left out too. */
  #take(key: string): number | undefined {
    const now = this.#ports.clock.nowUnixMs();
    const bucket = this.#buckets.get(key) ?? { tokens: BURST, refilledUnixMs: now, leftOut: 0 };
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > PEERS_CAP) this.#forgetOldest();
    const refills = Math.floor((now - bucket.refilledUnixMs) / REFILL_MS);
    if (refills > 0) {
      bucket.tokens = Math.min(BURST, bucket.tokens + refills);
      bucket.refilledUnixMs += refills * REFILL_MS;
    }
    if (bucket.tokens === 0) {
      bucket.leftOut += 1;
      return undefined;
    }
    bucket.tokens -= 1;
    const { leftOut } = bucket;
    bucket.leftOut = 0;
    return leftOut;
  }

  #forgetOldest(): void {
    const oldest = this.#buckets.keys().next();
    if (!oldest.done) this.#buckets.delete(oldest.value);
  }
}
