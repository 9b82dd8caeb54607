/**
 * One emulated device of a preflight: the real agent as a plain process, slots as files, a bootloader that counts
 * attempts. It trusts the throwaway root alone.
 *
 * What is in the images does not run: they may be for another processor. So a boot of them is taken for granted, and
 * their own health checks are not asked.
 */
import { execFile } from 'node:child_process';
import { mkdir, readFile, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { EmulatedDevice, type EmulatedUserspace } from '../../emulator/boot-loop.ts';
import { type FactoryTiming, makeDevice } from '../../emulator/factory.ts';
import { mapImage } from '../../keys/image-map.ts';
import { emulatedPaths } from '../../platform/emulated-boot-env.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { bytesFetched } from '../../protocol/bytes-fetched.ts';
import type { DeviceDetail, RolloutView } from '../../protocol/operator-api.ts';
import type { LoopbackServer } from './loopback-server.ts';
import { bundleOf } from './programs.ts';
import type { PreflightRelease } from './release.ts';
import { type Patience, until } from './wait.ts';

export interface Ending {
  readonly outcome: 'confirmed' | 'refused' | 'rolled-back' | 'failed';
  /** Who said it: the command before anything ran, the server at publication, or the device. */
  readonly by: 'preflight' | 'server' | 'device';
  /** A refusal code of trust/, or the reason that the device or the server gives; `confirmed`. */
  readonly code: string;
  readonly detail: string;
}

export interface Fetched {
  /** Bytes of images that came over the network, as the device counted them. */
  readonly fetchedBytes: number;
  /** Bytes of images that the release has. */
  readonly imageBytes: number;
  /** The device's own words: by which ways they came. */
  readonly said: string;
}

/** A fleet polls every few minutes; one device that somebody waits for does not. */
const TIMING: FactoryTiming = {
  pollIntervalMs: 500,
  healthDeadlineMs: 10_000,
  trialServerWaitMs: 30_000,
  retryBaseMs: 250,
  retryCapMs: 2000,
};
/** A device that starts and enrols on loopback takes seconds. */
const ENROL_LIMIT_MS = 120_000;
const NOTICE = 'image-transport: ';

export interface DeviceRequest {
  readonly deviceId: string;
  /** Its folder; made. */
  readonly directory: string;
  /** Path of the throwaway root. */
  readonly rootFile: string;
  /** The release that it runs. */
  readonly from: PreflightRelease;
  readonly server: LoopbackServer;
  readonly patience: Patience;
  /** What it is doing now, for people. */
  readonly onState: (text: string) => void;
}

export class PreflightDevice {
  readonly #request: DeviceRequest;
  readonly #emulated: EmulatedDevice;
  readonly #patience: Patience;
  #ended: Promise<void> = Promise.resolve();
  /** What the boot loop itself failed of: a full disk, say. */
  #broken: { readonly error: unknown } | undefined;

  private constructor(request: DeviceRequest) {
    this.#request = request;
    this.#emulated = new EmulatedDevice(request.directory, agentAlone(request.from));
    const demandAlive = (): void => {
      request.patience.demandAlive();
      if (this.#broken !== undefined) throw this.#broken.error;
    };
    this.#patience = { ...request.patience, demandAlive };
  }

  /** Out of the factory with the release in slot a, powered and enrolled. */
  static async start(request: DeviceRequest): Promise<PreflightDevice> {
    const { deviceId, directory, from, server } = request;
    const { vendor, hardwareClass, channel, sequence, version } = from.content;
    const { claims } = await server.api.createClaims({ hardwareClass, ids: [deviceId], expiresInDays: 1 });
    await makeDevice({
      directory,
      images: Object.fromEntries([...from.files].map(([component, { image }]) => [component, image])),
      installed: { sequence, version },
      vendor,
      hardwareClass,
      channel,
      environment: 'rehearsal',
      rootFile: request.rootFile,
      claim: `${JSON.stringify(claims[0])}\n`,
      server: server.forDevices,
      timing: TIMING,
      health: 'none',
    });
    const device = new PreflightDevice(request);
    device.#ended = device.#emulated.powerOn().catch((error: unknown) => {
      device.#broken = { error };
    });
    try {
      await device.#awaitEnrolment();
      return device;
    } catch (error) {
      await device.end();
      throw error;
    }
  }

  /** Ends it and removes its folder, which is as large as two slots. */
  async end(): Promise<void> {
    await this.#emulated.powerOff();
    await this.#ended;
    await rm(this.#request.directory, { recursive: true, force: true });
  }

  /** The agent's own verifier over the whole release; undefined when it accepts. */
  async judge(releasePath: string): Promise<Ending | undefined> {
    this.#request.onState('the device checks the release');
    const config = join(this.#request.directory, 'factory/agent.json');
    const args = ['verify', '--config', config, '--release', releasePath, '--json'];
    const said = await runAgent(args, this.#request.patience.signal);
    if (said.ok) return undefined;
    if (said.detail !== undefined) return { outcome: 'refused', by: 'device', code: said.code, detail: said.detail };
    throw new Fault({
      code: said.code,
      what: `the agent could not check the release: ${said.what ?? 'it does not say why'}`,
      cure: 'Start the preflight again; if it stays, this is a fault of Holdfast.',
      exitStatus: EXIT.environment,
    });
  }

  /** The update itself, by a rollout of its own. */
  async update(to: PreflightRelease): Promise<Ending> {
    const { deviceId, server } = this.#request;
    const patience = this.#patience;
    const { rolloutId } = await server.api.startRollout({
      releasePath: to.content.releasePath,
      waves: [{ devices: 1 }],
      maxFailedPercent: 0,
      minSample: 1,
      actionTimeoutMs: patience.timeoutMs,
      deviceIds: [deviceId],
    });
    // The server's own deadline comes first, and says more.
    const longer = { ...patience, timeoutMs: patience.timeoutMs + 60_000 };
    const ending = await until(longer, async () => {
      const [detail, rollout] = await Promise.all([server.api.device(deviceId), server.api.rollout(rolloutId)]);
      this.#request.onState(`${to.content.version}: ${detail.device.state ?? 'starting'}`);
      return endingOf(detail, rollout);
    });
    if (ending === undefined) throw notInTime('ended the update', patience.timeoutMs);
    if (ending.outcome === 'confirmed') return this.#compareSlot(to);
    const complaint = await this.#bootloaderSaid();
    return complaint === '' ? ending : { ...ending, detail: `${ending.detail}; the bootloader said: ${complaint}` };
  }

  /** What it fetched for the last update; undefined when it does not say. */
  async fetched(): Promise<Fetched | undefined> {
    const { deviceId, server } = this.#request;
    const { history } = await server.api.device(deviceId);
    const said = history.map(({ text }) => text).filter((text) => text.startsWith(NOTICE));
    const bytes = bytesFetched(said);
    if (bytes === undefined) return undefined;
    return { fetchedBytes: bytes.fetched, imageBytes: bytes.images, said: said[0]?.slice(NOTICE.length) ?? '' };
  }

  async #awaitEnrolment(): Promise<void> {
    const { deviceId, server, from, onState } = this.#request;
    onState(`a device starts on ${from.content.version}`);
    const limited = { ...this.#patience, timeoutMs: ENROL_LIMIT_MS };
    const there = await until(limited, async () => {
      const { device } = await server.api.device(deviceId);
      const idle = device.state === 'idle' && device.installed?.sequence === from.content.sequence;
      return device.enrolment === 'enrolled' && idle ? true : undefined;
    });
    if (there === undefined) throw notInTime('enrolled', ENROL_LIMIT_MS);
  }

  /** Why a slot did not boot: the agent of the other one can only tell that it did not. */
  async #bootloaderSaid(): Promise<string> {
    const said = await readFile(join(this.#request.directory, 'run/console.log'), 'utf8').catch(() => '');
    return (
      said
        .split('\n')
        .findLast((line) => / slot [ab] .*does not boot: /.test(line))
        ?.replace(/^.*? (?=slot )/, '') ?? ''
    );
  }

  /** The device read its slot back itself; this looks with other eyes. */
  async #compareSlot(to: PreflightRelease): Promise<Ending> {
    const slot = join(emulatedPaths(this.#request.directory).slots, 'b');
    for (const { component, sha256 } of to.content.images) {
      const found = await mapImage(join(slot, `${component}.img`));
      if (found.sha256 === sha256) continue;
      const detail = `${component}: the slot holds ${found.sha256}, the release has ${sha256}`;
      return { outcome: 'failed', by: 'preflight', code: 'image-digest-mismatch', detail };
    }
    const detail = `slot b holds ${to.content.version}, byte for byte`;
    return { outcome: 'confirmed', by: 'device', code: 'confirmed', detail };
  }
}

function agentAlone(from: PreflightRelease): EmulatedUserspace {
  return {
    async mount(slotDirectory, rootDirectory) {
      for (const component of from.files.keys()) {
        const there = await stat(join(slotDirectory, `${component}.img`)).catch(() => undefined);
        if (there === undefined) return { ok: false, why: `it has no image of ${component}` };
      }
      await mkdir(rootDirectory, { recursive: true });
      return { ok: true, version: `of ${from.files.size} images` };
    },
    programs: (_rootDirectory, configFile) => ({
      agent: [process.execPath, bundleOf('holdfast-agent'), 'run', '--config', configFile],
    }),
  };
}

/** `refused sequence 2: class-mismatch: …` and its like, as the server keeps what devices report. */
const TROUBLE = /^(?:refused|failed on|rolled back from) sequence \d+: ([a-z0-9-]{1,64})/;

const OUTCOMES: Readonly<Partial<Record<DeviceDetail['explanation']['reason'], Ending['outcome']>>> = {
  'release-refused': 'refused',
  'rolled-back': 'rolled-back',
};

/** Undefined while it is at it. One failure to install ends it: on loopback there is no weather that changes. */
function endingOf({ explanation, history }: DeviceDetail, rollout: RolloutView): Ending | undefined {
  if (rollout.confirmed > 0) return { outcome: 'confirmed', by: 'device', code: 'confirmed', detail: '' };
  if (rollout.state === 'running' && explanation.reason !== 'install-failed') return undefined;
  const { reason, detail } = explanation;
  const code = history.map(({ text }) => TROUBLE.exec(text)?.[1]).find((found) => found !== undefined) ?? reason;
  return { outcome: OUTCOMES[reason] ?? 'failed', by: 'device', code, detail };
}

const Answer = v.union([
  v.object({ ok: v.literal(true) }),
  v.object({ ok: v.literal(false), code: v.string(), detail: v.optional(v.string()), what: v.optional(v.string()) }),
]);

/** One JSON line of the agent, whatever its exit status says. */
function runAgent(args: readonly string[], signal: AbortSignal): Promise<v.InferOutput<typeof Answer>> {
  const bundle = bundleOf('holdfast-agent');
  return new Promise((resolve, reject) => {
    const options = { signal, maxBuffer: 1024 * 1024, cwd: dirname(bundle) };
    execFile(process.execPath, [bundle, ...args], options, (error, stdout, stderr) => {
      try {
        resolve(v.parse(Answer, JSON.parse(stdout)));
      } catch {
        const words = stderr.trim() || (error?.message ?? stdout);
        reject(
          new Fault({
            code: 'program-failed',
            what: `holdfast-agent gave no answer: ${words.slice(-400)}`,
            cure: 'Check that the three commands are of one version (npm run build).',
            exitStatus: EXIT.environment,
            cause: error,
          }),
        );
      }
    });
  });
}

function notInTime(what: string, timeoutMs: number): Fault {
  return new Fault({
    code: 'device-silent',
    what: `the emulated device has not ${what} within ${timeoutMs / 1000} s`,
    cure: 'Give more time with --timeout; see whether this machine is busy.',
    exitStatus: EXIT.environment,
  });
}
