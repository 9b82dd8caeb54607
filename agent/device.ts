/**
 * Everything of one device, opened: board, identity, servers, reports, engine. The commands and the run loop stand on it.
 */
import { join } from 'node:path';
import { type Disk, nodeDisk } from '../platform/disk.ts';
import { makeDirectoryDurably } from '../platform/durable-file.ts';
import type { ReportEvent } from '../protocol/device-api.ts';
import type { Verdict } from '../trust/refusal.ts';
import { applicationOf } from './application/hooks.ts';
import { openBoard } from './boards/open-board.ts';
import type { AgentConfig } from './config.ts';
import type {
  Application,
  Board,
  Clock,
  DeviceFacts,
  EngineSettings,
  HealthChecker,
  Log,
  Random,
  ReleaseSource,
  Reporter,
} from './core/ports.ts';
import { CredentialTalk } from './credentials/credential-talk.ts';
import { type Identity, type IdentityPaths, identityPaths, readIdentity } from './credentials/identity.ts';
import type { CheckSettings } from './health/executable-check.ts';
import { localHealth } from './health/local-health.ts';
import { lastBootEnd } from './last-boot-end.ts';
import { refreshTrustedRoot } from './obtain-release.ts';
import { DurableReporter } from './reports/durable-reporter.ts';
import { NoticeLimiter } from './reports/notice-limiter.ts';
import { systemClock, systemRandom } from './system-clock.ts';
import { BandwidthLimit } from './transport/bandwidth-limit.ts';
import { HttpsSource } from './transport/https-source.ts';
import { bootstrapServer, knownServers } from './transport/known-servers.ts';
import { LinkRation } from './transport/link-ration.ts';
import { askMetered } from './transport/metered.ts';
import { RationedRequester } from './transport/rationed-requester.ts';
import { ServerLink } from './transport/server-link.ts';
import { type ServerEntry, ServerPool } from './transport/server-pool.ts';
import { readTrustedRoot } from './trusted-root.ts';
import { UpdateEngine } from './update-engine.ts';

/** How often a device that waits for its link looks at it again, if it does not poll more often. */
const LINK_ASK_MS = 300_000;

export class Device {
  readonly config: AgentConfig;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random = systemRandom;
  readonly log: Log;
  readonly identityPaths: IdentityPaths;
  readonly notices: NoticeLimiter;
  readonly reporter: DurableReporter;
  readonly servers: ServerPool;
  readonly link: ServerLink;
  readonly board: Board;
  readonly #bootstrap: ServerEntry;
  #identity: Identity | undefined;

  private constructor(
    parts: Pick<Device, 'config' | 'disk' | 'clock' | 'log' | 'reporter' | 'board'>,
    bootstrap: ServerEntry,
    identity: Identity | undefined,
  ) {
    this.config = parts.config;
    this.disk = parts.disk;
    this.clock = parts.clock;
    this.log = parts.log;
    this.board = parts.board;
    this.reporter = parts.reporter;
    this.identityPaths = identityPaths(parts.config.dataDirectory);
    this.notices = new NoticeLimiter(parts.reporter, parts.clock, parts.log);
    this.#bootstrap = bootstrap;
    this.#identity = identity;
    this.servers = new ServerPool([bootstrap], {
      identity: () => this.#identity,
      bandwidth: bandwidthOf(parts.config),
      onOutOfDates: (detail) => this.notices.say('server-certificate-out-of-dates', detail),
    });
    this.link = new ServerLink(this.servers);
  }

  /**
   * Reads what the factory and earlier runs left. Throws Faults about the files of this device. `disk` and `clock` are the
   * machine's own, but for tests.
   */
  static async open(
    config: AgentConfig,
    log: Log,
    disk: Disk = nodeDisk,
    clock: Clock = systemClock(config.clock),
  ): Promise<Device> {
    await makeDirectoryDurably(disk, config.dataDirectory);
    const board = openBoard(config.board, disk);
    const { bootId } = await board.bootFacts();
    const reporter = await DurableReporter.open({ disk, clock, log, bootId }, join(config.dataDirectory, 'reports'));
    const identity = await readIdentity(disk, identityPaths(config.dataDirectory));
    const device = new Device(
      { config, disk, clock, log, board, reporter },
      await bootstrapServer(disk, config),
      identity,
    );
    await device.followTrustedRoot();
    return device;
  }

  get identity(): Identity | undefined {
    return this.#identity;
  }

  /** The device is enrolled: connections from here on show its certificate. */
  becomes(identity: Identity): void {
    this.#identity = identity;
    this.servers.reconnect();
  }

  openCredentialTalk(): CredentialTalk {
    const { disk, log, link, config, identityPaths } = this;
    return new CredentialTalk({
      disk,
      log,
      link,
      dataDirectory: config.dataDirectory,
      identityPaths,
      identity: () => this.#identity,
      becomes: (identity) => this.becomes(identity),
      refreshRoot: () => this.#refreshRoot(),
      notice: (code, detail) => this.notices.say(code, detail),
    });
  }

  /** Not rationed, as polls are not: it is next to nothing, and who owns this device does not wait for a cheaper link. */
  async #refreshRoot(): Promise<Verdict<unknown>> {
    const { disk, clock, log, config, servers } = this;
    const settings = engineSettings(config, this.#identity?.deviceId ?? 'not enrolled');
    return refreshTrustedRoot({ disk, clock, log, source: new HttpsSource(servers) }, settings);
  }

  /** The application on the device, where its maker gave it a say. */
  get application(): Application | undefined {
    return hooksOf(this.config, () => {});
  }

  /** Goes where the root that is trusted now says. Returns whether anything changed. */
  async followTrustedRoot(): Promise<boolean> {
    const { disk, log, config } = this;
    return this.servers.replace(knownServers(this.#bootstrap, await readTrustedRoot(disk, log, config)));
  }

  /**
   * `from`: a directory that a person brought, instead of the server; `heard` is told of every event besides.
   * `onProgress` is called whenever the engine's work gets on.
   */
  openEngine(deviceId: string, from?: LocalSource, onProgress: () => void = () => {}): Promise<UpdateEngine> {
    const { disk, board, clock, random, log, link, config } = this;
    const reporter = from === undefined ? this.reporter : alsoTold(this.reporter, from.heard);
    const application = hooksOf(config, onProgress);
    return UpdateEngine.open(
      {
        disk,
        board,
        clock,
        random,
        log,
        reporter,
        server: link,
        source: from?.source ?? new HttpsSource(new RationedRequester(this.servers, rationOf(this), onProgress)),
        health: healthOf(this, onProgress),
        ...(application === undefined ? {} : { application }),
        lastBootEnd,
        onProgress,
      },
      { ...engineSettings(config, deviceId), offline: from !== undefined },
    );
  }
}

export interface LocalSource {
  readonly source: ReleaseSource;
  readonly heard: (event: ReportEvent) => void;
}

function alsoTold(reporter: Reporter, heard: LocalSource['heard']): Reporter {
  return {
    async record(event) {
      await reporter.record(event);
      heard(event);
    },
  };
}

export function deviceFacts(config: AgentConfig, deviceId: string): DeviceFacts {
  const { vendor, hardwareClass, channel, environment } = config;
  return { deviceId, vendor, hardwareClass, channel, environment };
}

function bandwidthOf({ network }: AgentConfig): BandwidthLimit | undefined {
  return network.maxBytesPerSecond === null ? undefined : new BandwidthLimit(network.maxBytesPerSecond);
}

export function engineSettings(config: AgentConfig, deviceId: string): EngineSettings {
  return {
    device: deviceFacts(config, deviceId),
    stateDirectory: config.dataDirectory,
    factoryRootPath: config.factoryRoot,
    factoryInstalled: config.factoryInstalled,
    trialServerWaitMs: config.trial.serverWaitMs,
    ...(config.network.transportWaitMs === undefined ? {} : { transportWaitMs: config.network.transportWaitMs }),
    retry: config.retry,
    inUse: config.hooks.inUse,
  };
}

function rationOf({ config, disk, clock }: Pick<Device, 'config' | 'disk' | 'clock'>): LinkRation {
  const { metered, budget } = config.network;
  return new LinkRation({
    disk,
    clock,
    stateDirectory: config.dataDirectory,
    isMetered: async () => metered === 'always' || (metered === 'auto' && (await askMetered()) === true),
    budget,
    askEveryMs: Math.min(config.poll.intervalMs, LINK_ASK_MS),
  });
}

function healthOf({ config, disk, board }: Device, onProgress: () => void): HealthChecker {
  const { directory, deadlineMs, builtin } = config.health;
  const { minFreeBytes, minAvailableMemoryBytes, systemd, ...units } = builtin;
  return localHealth({
    directory,
    dataDirectory: config.dataDirectory,
    minFreeBytes,
    minAvailableMemoryBytes,
    systemd: systemd ? units : null,
    firstBoot:
      config.firstBoot === undefined
        ? undefined
        : {
            disk,
            directory: join(config.dataDirectory, 'first-boot'),
            bootId: async () => (await board.bootFacts()).bootId,
            waitMs: units.startDeadlineMs,
          },
    executables: executablesOf(config, deadlineMs),
    onProgress,
  });
}

function hooksOf(config: AgentConfig, onProgress: () => void): Application | undefined {
  const { beforeReboot, deadlineMs, inUse } = config.hooks;
  const { program, file } = inUse;
  return applicationOf({ beforeReboot, program, file, executables: executablesOf(config, deadlineMs), onProgress });
}

function executablesOf({ dataDirectory, board }: AgentConfig, deadlineMs: number): CheckSettings {
  const device = board.kind === 'emulated' ? board.directory : dataDirectory;
  const run = process.env.HOLDFAST_RUN ?? join(device, 'run');
  return {
    deadlineMs,
    workingDirectory: board.kind === 'emulated' ? join(run, 'rootfs') : '/',
    environment: { HOLDFAST_DEVICE: device, HOLDFAST_RUN: run, HOLDFAST_SLOT: process.env.HOLDFAST_SLOT ?? '' },
  };
}
