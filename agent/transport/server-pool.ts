/**
 * The servers that this device may talk to, tried in order: those in signed root metadata, or, while the root names
 * none, the one from the device's own configuration. A threshold of root keys can so re-home a fleet.
 *
 * A server that cannot be reached hands over to the next; one that is refused (wrong certificate) does so too, and its
 * refusal is the answer when no other server helps.
 */
import type { Refusal, Verdict } from '../../trust/refusal.ts';
import { SourceUnreachable } from '../core/ports.ts';
import {
  type HttpAnswer,
  type HttpRequest,
  HttpsChannel,
  type HttpsChannelSettings,
  type Requester,
} from './https-channel.ts';

export interface ServerEntry {
  readonly url: string;
  readonly mqttUrl: string | null;
  readonly anchors: readonly string[];
}

export type PoolSettings = Omit<HttpsChannelSettings, 'url' | 'anchors'>;

export class ServerPool implements Requester {
  readonly #settings: PoolSettings;
  #entries: readonly ServerEntry[] = [];
  #channels: HttpsChannel[] = [];
  #current = 0;

  constructor(entries: readonly ServerEntry[], settings: PoolSettings) {
    this.#settings = settings;
    this.replace(entries);
  }

  get description(): string {
    return this.#channels[this.#current]?.description ?? 'no server';
  }

  /** The server in use: MQTT goes where HTTPS goes. */
  get current(): ServerEntry | undefined {
    return this.#entries[this.#current];
  }

  /** Takes other servers, if they are other. Returns whether anything changed. */
  replace(entries: readonly ServerEntry[]): boolean {
    if (JSON.stringify(entries) === JSON.stringify(this.#entries)) return false;
    this.close();
    this.#entries = entries;
    this.#channels = entries.map(({ url, anchors }) => new HttpsChannel({ ...this.#settings, url, anchors }));
    this.#current = 0;
    return true;
  }

  /** New connections from here on: after a certificate was received, old ones still show none. */
  reconnect(): void {
    for (const channel of this.#channels) channel.close();
  }

  /** Nobody asks anything for a while: a kept connection would wake the device once more, to be closed. */
  closeIdle(): void {
    for (const channel of this.#channels) channel.closeIdle();
  }

  async request(asked: HttpRequest): Promise<Verdict<HttpAnswer>> {
    let refusal: Refusal | undefined;
    let unreachable: SourceUnreachable | undefined;
    for (let tried = 0; tried < this.#channels.length; tried += 1) {
      const channel = this.#channels[this.#current];
      if (channel === undefined) break;
      try {
        const verdict = await channel.request(asked);
        if (verdict.ok || !isAboutTheServer(verdict)) return verdict;
        refusal = verdict;
      } catch (error) {
        if (!(error instanceof SourceUnreachable)) throw error;
        unreachable = error;
      }
      this.#current = (this.#current + 1) % this.#channels.length;
    }
    if (refusal !== undefined) return refusal;
    throw unreachable ?? new SourceUnreachable('this device knows no server');
  }

  close(): void {
    for (const channel of this.#channels) channel.close();
    this.#channels = [];
  }
}

function isAboutTheServer(refusal: Refusal): boolean {
  return refusal.code === 'server-certificate-untrusted' || refusal.code === 'server-name-mismatch';
}
