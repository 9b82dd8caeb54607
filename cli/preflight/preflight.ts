/**
 * The preflight: devices on the last release, the next one offered to them by a server, each in earnest but for the keys.
 * One device goes without a recipe, as those do whose release is too old for one; then the server makes recipes, and
 * another goes with them.
 *
 * What is wrong with the release is an `Ending`. What is wrong with this machine is a Fault.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ThrowawayRepository } from '../../keys/throwaway-repository.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import type { TransportState } from '../../protocol/operator-api.ts';
import { type Ending, type Fetched, PreflightDevice } from './device.ts';
import { LoopbackServer } from './loopback-server.ts';
import type { PreflightRelease } from './release.ts';
import { demandGoOn, type Patience, until } from './wait.ts';

export interface PreflightRequest {
  readonly from: PreflightRelease;
  readonly to: PreflightRelease;
  /** Bytes of a slot's partition, by component; those that are not named are not looked at. */
  readonly slotBytes: ReadonlyMap<string, number>;
  /** Empty, and the caller's to remove: devices and server are made in it. */
  readonly directory: string;
  /** For one device's update. */
  readonly timeoutMs: number;
  readonly nowUnixS: number;
  readonly signal: AbortSignal;
  /** What is going on, for people; `matter` stays the same while only numbers in `text` change. */
  readonly onState: (text: string, matter?: string) => void;
  readonly onUpload: (component: string, sizeBytes: number) => { update(done: number): void; finish(): void };
}

export interface Recipe {
  readonly component: string;
  /** Null when the server could not make it. */
  readonly sizeBytes: number | null;
  readonly detail: string;
}

export interface Flight extends Ending {
  /** `with`: the server had made recipes for what differs. */
  readonly delta: 'without' | 'with';
  readonly fetched: Fetched | null;
}

export interface PreflightResult {
  readonly ok: boolean;
  /** Devices, in the order in which they flew; none when the release was refused before. */
  readonly devices: readonly Flight[];
  /** Why no device was offered the release; null when one was. */
  readonly refusal: Ending | null;
  /** Of the images that differ from their older ones; empty when no device got so far. */
  readonly recipes: readonly Recipe[];
}

export async function runPreflight(request: PreflightRequest): Promise<PreflightResult> {
  const early = refusedUnseen(request);
  if (early !== undefined) return { ok: false, devices: [], refusal: early, recipes: [] };
  const repository = await ThrowawayRepository.make(request.nowUnixS);
  const server = new LoopbackServer(request.directory, repository);
  try {
    await writeFile(join(request.directory, 'root.json'), repository.root);
    return await new Run(request, server).fly();
  } finally {
    await server.stop();
  }
}

/** What needs no device to be seen. */
function refusedUnseen({ from, to, slotBytes }: PreflightRequest): Ending | undefined {
  const refused = (code: string, detail: string): Ending => ({ outcome: 'refused', by: 'preflight', code, detail });
  if (from.content.releasePath === to.content.releasePath) {
    return refused('sequence-not-newer', `both releases are ${to.content.releasePath}`);
  }
  for (const { component, sizeBytes } of to.content.images) {
    const slot = slotBytes.get(component);
    if (slot === undefined || sizeBytes <= slot) continue;
    return refused('image-larger-than-slot', `${component} has ${sizeBytes} bytes, its slot ${slot}`);
  }
  return undefined;
}

class Run {
  readonly #request: PreflightRequest;
  readonly #server: LoopbackServer;
  readonly #patience: Patience;

  constructor(request: PreflightRequest, server: LoopbackServer) {
    this.#request = request;
    this.#server = server;
    const { timeoutMs, signal } = request;
    this.#patience = { timeoutMs, signal, demandAlive: () => server.demandAlive() };
  }

  async fly(): Promise<PreflightResult> {
    this.#request.onState('a server starts');
    await this.#server.start(false);
    const unpublished = await this.#publish();
    if (unpublished !== undefined) return { ok: false, devices: [], refusal: unpublished, recipes: [] };
    const first = await this.#flight('without');
    if (first.refusal !== null) return { ok: false, devices: [], refusal: first.refusal, recipes: [] };
    const devices = [first.flight];
    if (first.flight.outcome !== 'confirmed') return { ok: false, devices, refusal: null, recipes: [] };
    const recipes = await this.#makeRecipes();
    if (recipes.some(({ sizeBytes }) => sizeBytes !== null)) {
      const second = await this.#flight('with');
      if (second.refusal !== null) return { ok: false, devices, refusal: second.refusal, recipes };
      devices.push(second.flight);
    }
    return { ok: devices.every(({ outcome }) => outcome === 'confirmed'), devices, refusal: null, recipes };
  }

  /**
   * Lower sequence first: the server refuses to publish what is older than its newest, and then no device could say
   * what it thinks of it.
   */
  async #publish(): Promise<Ending | undefined> {
    const { from, to, onUpload } = this.#request;
    const ascending = [from, to].toSorted((a, b) => a.content.sequence - b.content.sequence);
    for (const release of ascending) {
      demandGoOn(this.#patience.signal);
      try {
        await this.#server.publish(release, onUpload);
      } catch (error) {
        if (!(error instanceof Fault) || error.exitStatus !== EXIT.refused || release === from) throw error;
        return { outcome: 'refused', by: 'server', code: error.code, detail: error.what };
      }
    }
    return undefined;
  }

  /** One device from its factory to the end of its update. */
  async #flight(
    delta: Flight['delta'],
  ): Promise<{ readonly refusal: Ending } | { readonly refusal: null; readonly flight: Flight }> {
    const { from, to, directory, onState } = this.#request;
    const label = `${delta} delta`;
    const device = await PreflightDevice.start({
      deviceId: `preflight-${delta}-delta`,
      directory: join(directory, `device-${delta}`),
      rootFile: join(directory, 'root.json'),
      from,
      server: this.#server,
      patience: this.#patience,
      onState: (text) => onState(`${label}: ${text}`),
    });
    try {
      // Once is enough: the second device would say the same of the same bytes.
      const refusal = delta === 'without' ? await device.judge(to.content.releasePath) : undefined;
      if (refusal !== undefined) return { refusal };
      if (delta === 'without') await this.#awaitForms(false);
      const ending = await device.update(to);
      return { refusal: null, flight: { delta, ...ending, fetched: (await device.fetched()) ?? null } };
    } finally {
      await device.end();
    }
  }

  /** From here on the server makes recipes, as yours does at publication. */
  async #makeRecipes(): Promise<Recipe[]> {
    this.#request.onState('the server starts again, to make recipes');
    await this.#server.start(true);
    return this.#awaitForms(true);
  }

  /** Waits until the forms in which the release travels are made, so that what is measured is what devices will see. */
  async #awaitForms(withRecipes: boolean): Promise<Recipe[]> {
    const recipes: Recipe[] = [];
    for (const { component, sha256 } of this.#request.to.content.images) {
      const old = this.#request.from.content.images.find((image) => image.component === component)?.sha256;
      if (old === sha256) continue;
      await this.#awaitForm(component, { imageSha256: sha256, kind: 'blocks-zstd', fromSha256: null });
      await this.#awaitForm(component, { imageSha256: sha256, kind: 'pieces', fromSha256: null });
      if (!withRecipes || old === undefined) continue;
      const made = await this.#awaitForm(component, { imageSha256: sha256, kind: 'recipe', fromSha256: old });
      recipes.push({ component, sizeBytes: made.state === 'made' ? made.sizeBytes : null, detail: made.detail });
    }
    return recipes;
  }

  async #awaitForm(
    component: string,
    form: Pick<TransportState, 'imageSha256' | 'kind' | 'fromSha256'>,
  ): Promise<TransportState> {
    const settled = await until(this.#patience, async () => {
      const forms = await this.#server.forms();
      const found = forms.find(
        ({ imageSha256, kind, fromSha256 }) =>
          imageSha256 === form.imageSha256 && kind === form.kind && fromSha256 === form.fromSha256,
      );
      if (found?.state === 'made' || found?.state === 'failed') return found;
      const what = `the server makes ${FORM_WORDS[form.kind]} of ${component}`;
      // Its turn may come late: what is being made meanwhile shows that something is.
      const now = forms.find(({ state }) => state === 'making');
      const step =
        now === undefined
          ? ''
          : ` (${now === found ? '' : `first ${FORM_WORDS[now.kind]}, `}${now.detail} ${now.donePercent} %)`;
      this.#request.onState(`${what}${step}`, what);
      return undefined;
    });
    if (settled !== undefined) return settled;
    throw new Fault({
      code: 'transport-not-made',
      what: `the server has not made ${FORM_WORDS[form.kind]} of ${component} within ${this.#patience.timeoutMs / 1000} s`,
      cure: 'Give more time with --timeout; see whether this machine has memory left.',
      exitStatus: EXIT.environment,
    });
  }
}

const FORM_WORDS: Readonly<Record<TransportState['kind'], string>> = {
  'blocks-zstd': 'packed blocks',
  'blocks-gzip': 'packed blocks',
  pieces: 'the piece index',
  recipe: 'the delta',
};
