/** A server's requests, of which those for parts of images wait for their ration. What is said besides passes freely. */
import type { Verdict } from '../../trust/refusal.ts';
import type { HttpAnswer, HttpRequest, Requester } from './https-channel.ts';
import type { LinkRation } from './link-ration.ts';

export class RationedRequester implements Requester {
  readonly #server: Requester;
  readonly #ration: Pick<LinkRation, 'claim' | 'forgetLink'>;
  readonly #onTransfer: () => void;

  constructor(server: Requester, ration: Pick<LinkRation, 'claim' | 'forgetLink'>, onTransfer: () => void = () => {}) {
    this.#server = server;
    this.#ration = ration;
    this.#onTransfer = onTransfer;
  }

  get description(): string {
    return this.#server.description;
  }

  /** Throws MustWait, or what the server's requester throws. */
  async request(asked: HttpRequest): Promise<Verdict<HttpAnswer>> {
    if (asked.into === undefined && asked.ofImage !== true) return this.#server.request(asked);
    const giveBack = await this.#ration.claim(asked.capBytes);
    let arrived: number | undefined;
    try {
      const answer = await this.#server.request(asked);
      if (answer.ok) arrived = answer.value.body.length;
      this.#onTransfer();
      return answer;
    } finally {
      if (arrived === undefined) this.#ration.forgetLink();
      giveBack(asked.capBytes - (arrived ?? asked.into?.received ?? asked.capBytes));
    }
  }
}
