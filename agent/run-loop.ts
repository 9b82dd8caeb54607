/**
 * The agent at work: two strands that never wait for one another.
 *
 *   conversation   enrol once; then poll, hand the offer to the engine, send reports, sleep until the next poll or a hint
 *   work           drive the engine from rest to rest; it decides everything about slots
 *
 * So a halt reaches the engine while it downloads, and a server that is away never holds up a trial. MQTT hangs on the
 * conversation: without an identity there is none, and without MQTT polls come by the clock alone. Watchdogs are fed while
 * both strands get on.
 */
import { errorText } from '../platform/fault.ts';
import type { PollAnswer } from '../protocol/device-api.ts';
import { accept, type Verdict } from '../trust/refusal.ts';
import { Backoff, withJitter } from './backoff.ts';
import type { AgentConfig } from './config.ts';
import { SourceUnreachable } from './core/ports.ts';
import { readClaim } from './credentials/claim.ts';
import type { CredentialTalk } from './credentials/credential-talk.ts';
import { EnrolmentMustWait, enrol } from './credentials/enrolment.ts';
import type { Device } from './device.ts';
import { inventory } from './inventory.ts';
import { type AgentStatus, StatusFile } from './status-file.ts';
import { MqttLink } from './transport/mqtt-link.ts';
import { ServerSaidNo } from './transport/server-link.ts';
import type { UpdateEngine } from './update-engine.ts';
import { AGENT_VERSION } from './version.ts';
import { WakeUp } from './wake-up.ts';
import { HardwareWatchdog } from './watchdog/hardware-watchdog.ts';
import { Liveness } from './watchdog/liveness.ts';
import { ServiceWatchdog } from './watchdog/service-watchdog.ts';

/** While the engine works: how often status goes out. */
const STATUS_INTERVAL_MS = 1000;
/** A reboot waits this long for the last reports; the rest is sent after it. */
const LAST_FLUSH_MS = 3000;
/** What a broker may take to hear goodbye. */
const GOODBYE_MS = 1000;
/** A poll that brought nothing new is not worth a write: what the status file says of the last one is at most this old. */
const SEEN_STEP_MS = 3600_000;
/** Connections are kept for a pause shorter than this; servers close an idle one after about as long. */
const KEPT_CONNECTION_MS = 30_000;
/** Work that rests until somebody calls. */
const UNTIL_CALLED_MS = 24 * 3600_000;

/** Longer than any one step of a strand that is alive, such as reading a large image back from a slow card. */
const SILENCE_MS = 30 * 60_000;

/** For how long work may show no progress, with what the image's maker allows its own programs. */
export function workSilenceMs({ health, hooks }: AgentConfig): number {
  const { startDeadlineMs, settleMs } = health.builtin;
  return SILENCE_MS + Math.max(health.deadlineMs, hooks.deadlineMs, startDeadlineMs + settleMs);
}

export type LoopEnd = 'reboot' | 'stopped';

export class RunLoop {
  readonly #device: Device;
  readonly #engine: UpdateEngine;
  readonly #talk: WakeUp;
  readonly #work: WakeUp;
  readonly #backoff: Backoff;
  readonly #credentials: CredentialTalk;
  readonly #liveness: Liveness;
  readonly #watchdog: ServiceWatchdog;
  #mqtt: MqttLink | undefined;
  #serverSeenUnixMs: number | null = null;
  #serverTrouble: string | null = null;
  #offeredActionId: string | null = null;
  readonly #statusFile: StatusFile;
  #lastPicture = '';
  #waits: string | undefined;
  #hardware: HardwareWatchdog | undefined;
  #pollIntervalMs: number;
  #rotationOwedSinceMs: number | undefined;

  constructor(device: Device, engine: UpdateEngine, liveness = new Liveness(device.clock)) {
    this.#device = device;
    this.#engine = engine;
    this.#statusFile = new StatusFile(device.disk, device.config.dataDirectory);
    this.#talk = new WakeUp(device.clock);
    this.#work = new WakeUp(device.clock);
    this.#backoff = new Backoff(device.random, device.config.retry);
    this.#pollIntervalMs = device.config.poll.intervalMs;
    this.#credentials = device.openCredentialTalk();
    this.#liveness = liveness;
    this.#watchdog = new ServiceWatchdog({ clock: device.clock, log: device.log, stuck: () => liveness.stuck() });
  }

  /** Until the engine asks for a reboot, or the signal fires. What is on disk is right at any moment. */
  async run(signal: AbortSignal): Promise<LoopEnd> {
    const stop = new AbortController();
    const either = AbortSignal.any([signal, stop.signal]);
    await this.#watchdog.ready();
    const conversation = this.#converse(either);
    const stopped = new Promise<'stopped'>((resolve) =>
      signal.addEventListener('abort', () => resolve('stopped'), { once: true }),
    );
    try {
      // A download in flight is not waited for: its journal is on disk, and the next start resumes it.
      return await Promise.race([this.#drive(either), stopped, conversation.then(() => stopped)]);
    } finally {
      stop.abort();
      this.#watchdog.stop();
      await this.#hardware?.disarm();
      await Promise.race([this.#mqtt?.stop(), this.#device.clock.sleep(GOODBYE_MS)]);
      this.#device.servers.close();
    }
  }

  /** One of everything: what is owed, one poll, what it brought, the reports. */
  async runOnce(signal: AbortSignal): Promise<LoopEnd> {
    if ((await this.#runEngine()).rest === 'reboot') return this.#reboot();
    await this.#exchange(signal);
    const { rest } = await this.#runEngine();
    if (rest === 'reboot') return this.#reboot();
    await this.#stageRotation();
    await this.#flush();
    this.#device.servers.close();
    return 'stopped';
  }

  // --- the conversation

  async #converse(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#liveness.heard('conversation', SILENCE_MS);
      const pauseMs = await this.#exchangeOrPause(signal);
      // First, so that the status is there when MQTT is.
      if (this.#device.identity !== undefined && !signal.aborted) this.#startMqtt();
      await this.#showStatus();
      if (pauseMs > KEPT_CONNECTION_MS) this.#device.servers.closeIdle();
      this.#liveness.heard('conversation', pauseMs + SILENCE_MS);
      await this.#watchdog.turn();
      await this.#talk.sleep(pauseMs, signal);
    }
  }

  async #exchangeOrPause(signal: AbortSignal): Promise<number> {
    try {
      await this.#exchange(signal);
      this.#backoff.succeeded();
      return withJitter(this.#device.random, this.#pollIntervalMs);
    } catch (error) {
      if (!(error instanceof SourceUnreachable) && !(error instanceof ServerSaidNo)) throw error;
      this.#serverTrouble = errorText(error);
      this.#device.log.warn('the server did not help', { why: this.#serverTrouble });
      if (error instanceof ServerSaidNo) this.#device.notices.say(`server-said-${error.code}`, error.message);
      if (error instanceof EnrolmentMustWait)
        this.#device.notices.say('server-certificate-out-of-dates', error.message);
      return this.#backoff.nextPauseMs();
    }
  }

  /** Throws SourceUnreachable or ServerSaidNo; refusals of the server or its answers become notices and the same. */
  async #exchange(signal: AbortSignal): Promise<void> {
    const device = this.#device;
    await device.followTrustedRoot();
    if (device.identity === undefined) await this.#enrol();
    if (signal.aborted) return;
    const firstBoot = await this.#credentials.standing();
    const answer = await device.link.poll({ ...this.#pollRequest(), firstBoot });
    if (!answer.ok) throw this.#refused(answer);
    this.#serverSeenUnixMs = device.clock.wallUnixMs() ?? null;
    const wasAway = this.#serverTrouble !== null;
    this.#serverTrouble = null;
    const { action, pollAfterMs, requests } = answer.value;
    // The image's maker says how long a device may be silent; the server may ask to hear from it more often.
    this.#pollIntervalMs = Math.min(device.config.poll.intervalMs, Math.max(pollAfterMs, 200));
    if (requests.includes('report-inventory'))
      await device.reporter.record(await inventory(device.config.dataDirectory));
    await this.#engine.offer(action);
    // The same action again is no reason to cut short a pause that the engine asked for; a server that is back is.
    const isNews = (action?.actionId ?? null) !== this.#offeredActionId;
    this.#offeredActionId = action?.actionId ?? null;
    if (requests.includes('retry-now')) this.#engine.retryNow();
    const spoken = await this.#speakOfCredentials(requests);
    if (isNews || wasAway || requests.includes('retry-now') || this.#credentials.rotationAsked) this.#work.call();
    await this.#flush();
    if (!spoken.ok) throw this.#refused(spoken);
  }

  /** What the server refuses of it holds up neither updates nor reports. */
  async #speakOfCredentials(requests: PollAnswer['requests']): Promise<Verdict<undefined>> {
    try {
      return await this.#credentials.follow(requests, this.#engine.status().bootedSlot);
    } catch (error) {
      if (!(error instanceof ServerSaidNo)) throw error;
      this.#device.notices.say(`server-said-${error.code}`, error.message);
      return accept(undefined);
    }
  }

  #pollRequest(): Omit<Parameters<Device['link']['poll']>[0], 'firstBoot'> {
    const { config, board } = this.#device;
    const { state, stateSinceUnixMs, bootedSlot, installed, floorSequence, actionId, quarantined, waiting } =
      this.#engine.status();
    return {
      agentVersion: AGENT_VERSION,
      hardwareClass: config.hardwareClass,
      channel: config.channel,
      board: board.kind,
      bootedSlot,
      state,
      stateSinceUnixMs,
      installed,
      floorSequence,
      actionId,
      waiting: waiting?.reason ?? null,
      quarantined: quarantined.slice(-16).map(({ sequence, reason }) => ({ sequence, reason: reason.slice(0, 128) })),
    };
  }

  async #enrol(): Promise<void> {
    const { disk, config, servers, identityPaths: paths, log } = this.#device;
    const server = servers.current;
    if (server === undefined) throw new SourceUnreachable('this device knows no server');
    const verdict = await enrol(disk, await readClaim(disk, config.claimFile), server, paths);
    if (!verdict.ok) throw this.#refused(verdict);
    log.info('enrolled', { deviceId: verdict.value.deviceId });
    this.#device.becomes(verdict.value);
  }

  #refused(refusal: { readonly code: string; readonly detail: string }): SourceUnreachable {
    this.#device.notices.say(refusal.code, refusal.detail);
    return new SourceUnreachable(`${refusal.code}: ${refusal.detail}`);
  }

  async #flush(): Promise<void> {
    if (this.#device.identity === undefined) return;
    const verdict = await this.#device.reporter.flush((reports) => this.#device.link.report(reports));
    if (!verdict.ok) throw this.#refused(verdict);
  }

  #startMqtt(): void {
    if (this.#mqtt !== undefined || this.#device.identity === undefined) return;
    const { clock, random, log, notices, servers, identity, config } = this.#device;
    this.#mqtt = new MqttLink(
      {
        clock,
        random,
        log,
        deviceId: identity.deviceId,
        identity: () => this.#device.identity,
        server: () => {
          const server = servers.current;
          return server?.mqttUrl == null ? undefined : { mqttUrl: server.mqttUrl, anchors: server.anchors };
        },
        onHint: () => this.#talk.call(),
        onNotice: (code, detail) => notices.say(code, detail),
      },
      config.retry,
    );
    this.#mqtt.start();
  }

  // --- the work

  async #drive(signal: AbortSignal): Promise<LoopEnd> {
    await this.#holdHardwareWatchdog();
    while (!signal.aborted) {
      this.#liveness.heard('work', workSilenceMs(this.#device.config));
      const rest = await this.#runEngine().finally(() => this.#hardware?.disarm());
      if (rest.rest === 'reboot') return this.#reboot();
      if ((await this.#stageRotation()) && rest.rest === 'idle' && (await this.#rebootForRotation())) {
        return this.#reboot();
      }
      if (rest.rest === 'held') this.#device.log.warn('held', { why: rest.why });
      await this.#flushQuietly();
      const waits = this.#engine.status().waiting?.reason;
      // Told at once: the server gives the place of a device that waits to another.
      if (waits !== this.#waits) this.#talk.call();
      this.#waits = waits;
      if (rest.rest === 'retry') this.#liveness.heard('work', rest.afterMs + SILENCE_MS);
      else this.#liveness.rests('work');
      await this.#work.sleep(rest.rest === 'retry' ? rest.afterMs : UNTIL_CALLED_MS, signal);
    }
    return 'stopped';
  }

  /** Between two runs of the engine. Tried again after each poll that asks for it. */
  async #stageRotation(): Promise<boolean> {
    return this.#credentials.rotationAsked && this.#credentials.stageRotation();
  }

  /** Only a boot makes new secrets. The application may put it off, as it may an update; each poll asks again. */
  async #rebootForRotation(): Promise<boolean> {
    const { application, board, clock, config, log } = this.#device;
    const why = await application?.inUse();
    this.#rotationOwedSinceMs ??= clock.monotonicMs();
    const over = clock.monotonicMs() - this.#rotationOwedSinceMs >= config.hooks.inUse.limitMs;
    if (why !== undefined && !over) {
      log.info('the reboot for new credentials waits', { why });
      return false;
    }
    for (const failed of (await application?.beforeReboot()) ?? []) log.warn('before the reboot', { failed });
    await board.requestReboot();
    return true;
  }

  /** While this boot is a trial: from its first judgement until its end. */
  async #holdHardwareWatchdog(): Promise<void> {
    const device = this.#device.config.trial.watchdogDevice;
    if (device === null || this.#engine.status().state !== 'trial') return;
    const armed = await HardwareWatchdog.arm(device, () => this.#liveness.stuck());
    if (typeof armed === 'string') this.#device.notices.say('watchdog-not-armed', armed);
    else this.#hardware = armed;
  }

  async #runEngine(): ReturnType<UpdateEngine['run']> {
    const ticker = setInterval(() => void this.#showStatus(), STATUS_INTERVAL_MS);
    try {
      return await this.#engine.run();
    } finally {
      clearInterval(ticker);
      await this.#showStatus();
    }
  }

  /** The board was asked already. The server hears why the device goes silent, if it is quick to listen. */
  async #reboot(): Promise<LoopEnd> {
    this.#device.log.info('rebooting');
    await Promise.race([this.#flushQuietly(), this.#device.clock.sleep(LAST_FLUSH_MS)]);
    return 'reboot';
  }

  async #flushQuietly(): Promise<void> {
    await this.#flush().catch((error: unknown) => {
      if (!(error instanceof SourceUnreachable) && !(error instanceof ServerSaidNo)) throw error;
      this.#device.log.info('reports wait', { waiting: this.#device.reporter.waiting, why: errorText(error) });
    });
  }

  // --- what others see

  /** Status file and MQTT, when something changed. Nothing hangs on either. */
  async #showStatus(): Promise<void> {
    const status = this.#picture();
    const seenStep = Math.floor((status.serverSeenUnixMs ?? 0) / SEEN_STEP_MS);
    const picture = JSON.stringify({ ...status, serverSeenUnixMs: seenStep });
    if (picture === this.#lastPicture) return;
    this.#lastPicture = picture;
    const { state, bootedSlot, installed, progress } = status;
    this.#mqtt?.publishStatus({
      state,
      slot: bootedSlot,
      sequence: progress?.sequence ?? installed.sequence,
      doneBytes: progress?.doneBytes ?? 0,
      totalBytes: progress?.totalBytes ?? 0,
    });
    await this.#statusFile.write(status).catch((error: unknown) => {
      this.#device.log.warn('the status file could not be written', { why: errorText(error) });
    });
  }

  #picture(): AgentStatus {
    const { config, identity, servers, reporter } = this.#device;
    const { quarantined, ...engine } = this.#engine.status();
    return {
      format: 'holdfast-status-1',
      agentVersion: AGENT_VERSION,
      deviceId: identity?.deviceId ?? config.deviceId ?? null,
      hardwareClass: config.hardwareClass,
      channel: config.channel,
      environment: config.environment,
      enrolled: identity !== undefined,
      server: servers.current?.url ?? null,
      serverSeenUnixMs: this.#serverSeenUnixMs,
      serverTrouble: this.#serverTrouble,
      mqttConnected: this.#mqtt?.connected ?? false,
      reportsWaiting: reporter.waiting,
      ...engine,
      quarantined: [...quarantined],
    };
  }
}
