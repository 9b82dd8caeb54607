/**
 * What happened, told inside the process: the live page, hints over MQTT and metrics listen. An event carries no state:
 * whoever hears it reads the store. It is emitted after the transaction that made it true; one lost in a crash costs
 * latency only, because polls and ticks read the database, never events.
 */

import type { Touched } from './ports.ts';

export type ServerEvent =
  /** Something that a view shows has changed. */
  | { readonly kind: 'device' | 'rollout' | 'release' | 'transport' | 'audit'; readonly id: string }
  /** The device has something to fetch: poll now. */
  | { readonly kind: 'hint'; readonly id: string }
  /** The certificate of this device is no longer good: end its live sessions. */
  | { readonly kind: 'revoked'; readonly id: string }
  /** The device has come with a new certificate: end its sessions with any other. */
  | { readonly kind: 'superseded'; readonly id: string; readonly keptFingerprint: string };

export type ServerEventListener = (event: ServerEvent) => void;

export class ServerEvents {
  readonly #listeners = new Set<ServerEventListener>();
  readonly #onError: (error: unknown) => void;

  /** `onError` hears what a listener throws: one bad listener must not stop the others, nor the caller. */
  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  /** Returns the function that ends the subscription. */
  subscribe(listener: ServerEventListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  emit(event: ServerEvent): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(event);
      } catch (error) {
        this.#onError(error);
      }
    }
  }

  /** What a transaction of the store touched. What moves a rollout nearly always stands in the audit, too. */
  announce(touched: Touched): void {
    for (const id of touched.devices) this.emit({ kind: 'device', id });
    for (const id of touched.rollouts) this.emit({ kind: 'rollout', id });
    if (touched.rollouts.length > 0) this.emit({ kind: 'audit', id: 'audit' });
    for (const id of touched.hints) this.emit({ kind: 'hint', id });
  }

  get listenerCount(): number {
    return this.#listeners.size;
  }
}
