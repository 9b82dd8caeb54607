/**
 * What the agent needs of the world. Core decides with these interfaces only; boards, storage, transport and health
 * implement them; tests and the simulator implement them too.
 */
import type { Disk } from '../../platform/disk.ts';
import type { Action, ReportEvent, Slot, WaitReason } from '../../protocol/device-api.ts';
import type { Verdict } from '../../trust/refusal.ts';

export type { Slot };

export interface Clock {
  /** Milliseconds since an arbitrary start; never goes back. */
  monotonicMs(): number;
  /** Unix milliseconds if the clock is synchronised (NTP, or the host's), else undefined. */
  wallUnixMs(): number | undefined;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export interface Random {
  bytes(length: number): Uint8Array;
}

/** What the bootloader has been told, as the board reads it. */
export interface BootFlags {
  /** Slots that may be booted, preferred first. A slot being written is not in it. */
  readonly order: readonly Slot[];
  /** A trial owed or under way; a confirmed slot has no try count. */
  readonly trial: { readonly slot: Slot; readonly attemptsLeft: number } | null;
}

/** How this boot came about, as the bootloader tells userspace. */
export interface BootFacts {
  readonly bootId: string;
  readonly slot: Slot;
  /** True when the bootloader used up one attempt of a trial to get here. */
  readonly trial: boolean;
}

/**
 * Slots and boot flags of one kind of hardware. Every method that changes flags is atomic and durable: it happened
 * whole, or not at all, and once it returned a power cut does not undo it.
 */
export interface Board {
  readonly kind: string;
  /** Attempts that this board gives a trial: 3 with U-Boot, 1 with tryboot. */
  readonly trialAttempts: number;
  bootFacts(): Promise<BootFacts>;
  bootFlags(): Promise<BootFlags>;
  /** Path of one image's partition or file in a slot. */
  imagePath(slot: Slot, component: string): string;
  /** Takes `slot` out of the boot order, before its first byte is written. Idempotent. Never the booted slot. */
  retireSlot(slot: Slot): Promise<void>;
  /** The next boot tries `slot`, `trialAttempts` times, then goes back to the order as it stands. */
  armTrial(slot: Slot): Promise<void>;
  /** No trial is owed any more; the order is unchanged. Idempotent. */
  disarmTrial(): Promise<void>;
  /** `slot` is first in the order and no trial is pending; the other slot stays behind it. Idempotent. */
  confirmSlot(slot: Slot): Promise<void>;
  /** Asks for a reboot. The process is expected to end soon after. */
  requestReboot(): Promise<void>;
}

/** Where metadata, envelopes, block maps and images come from: HTTPS, or a directory. */
export interface ReleaseSource {
  readonly description: string;
  /** A metadata file by name; undefined when there is none. Reads at most `capBytes` + 1 bytes. */
  fetchMetadata(name: string, capBytes: number): Promise<Verdict<Uint8Array | undefined>>;
  /** A small target, whole, by its consistent path. */
  fetchTarget(path: string, capBytes: number): Promise<Verdict<Uint8Array>>;
  /**
   * `length` bytes of an image from `offset`; the exact number, or a refusal. Throws SourceUnreachable when cut off.
   * With `into`, a source may put them there (it has `length` bytes) and answer that memory.
   */
  fetchRange(path: string, offset: number, length: number, into?: RangeMemory): Promise<Verdict<Uint8Array>>;
  /** The same images in smaller forms, where the source has them. */
  readonly transport?: ImageTransport;
}

/**
 * Images as protocol/image-transport.ts has them: packed blocks, recipes, pieces. Nothing of it is trusted, and all of it
 * may be missing. Both methods throw SourceUnreachable when cut off, or when the source is away.
 */
export interface ImageTransport {
  /**
   * The bytes of a file from `offset`, put into `into`: as many as it has room for, fewer only at the file's end.
   * `path` is one of `transportPaths`.
   */
  read(path: string, offset: number, into: RangeMemory): Promise<TransportAnswer>;
  /** The pieces that `runs` (encodePieceRuns) name, compressed as one; never more than `capBytes`. */
  askPieces(path: string, runs: Uint8Array, capBytes: number): Promise<TransportAnswer>;
}

export type TransportAnswer =
  /** `totalBytes`: of the whole file, as the source says. `packed`: how pieces are compressed. */
  | {
      readonly found: 'bytes';
      readonly bytes: Uint8Array;
      readonly totalBytes: number;
      readonly packed?: 'zstd' | 'gzip';
    }
  /** Being made, or too much asked at once. */
  | { readonly found: 'later'; readonly afterMs: number; readonly why: string }
  /** Not there, or not what was asked for: another way. */
  | { readonly found: 'nothing'; readonly why: string };

/** Where the bytes of a range arrive, so that a transfer that is cut off can go on where it broke. */
export interface RangeMemory {
  readonly bytes: Uint8Array;
  /** How many have arrived, from the start; right also when the fetch throws. */
  received: number;
}

/** The source cannot be reached, or broke off: nothing is said about what it would have served. Retry later. */
export class SourceUnreachable extends Error {
  override readonly name = 'SourceUnreachable';
}

/** The work may go on, and the device has a reason not to yet. What was fetched so far is kept, as with a source away. */
export class MustWait extends SourceUnreachable {
  readonly reason: WaitReason;
  readonly afterMs: number;

  constructor(reason: WaitReason, detail: string, afterMs: number) {
    super(detail);
    this.reason = reason;
    this.afterMs = afterMs;
  }
}

/** How the machine was before an update: what was wrong then is not the release's fault. */
export interface HealthBaseline {
  readonly failedUnits: readonly string[];
}

export interface HealthVerdict {
  readonly healthy: boolean;
  /** Name of the first check that failed, or empty. */
  readonly failedCheck: string;
  /** What it printed, one line, at most 512 characters. */
  readonly detail: string;
}

export interface HealthChecker {
  /**
   * Runs every local check once, each within its deadline. The network is not among them. Without a baseline nothing
   * is blamed that needs one.
   */
  check(baseline?: HealthBaseline): Promise<HealthVerdict>;
  /** Asked before a trial is armed; a checker that compares with nothing has none. */
  baseline?(): Promise<HealthBaseline | undefined>;
}

/** The application on the device, as far as it has a say in updates. */
export interface Application {
  /** Why it should not be disturbed now, in a few words; undefined: it may be. */
  inUse(): Promise<string | undefined>;
  /** Its chance to save. What failed, a line each: that is told, and holds nothing up. */
  beforeReboot(): Promise<readonly string[]>;
}

/** Is the server reachable? Asked during a trial only when it was reachable before it. */
export interface ServerReachability {
  reachable(): Promise<boolean>;
}

/** Keeps events until the server has them; survives restarts. Returns once the event is durable. */
export interface Reporter {
  record(event: ReportEvent): Promise<void>;
}

export interface Log {
  info(message: string, facts?: Record<string, unknown>): void;
  warn(message: string, facts?: Record<string, unknown>): void;
}

/** What stands fixed about this device: from its factory image, never from the network. */
export interface DeviceFacts {
  readonly deviceId: string;
  /** Reverse-DNS-like vendor name whose UUIDv5 the manifest must carry, e.g. `acme.example`. */
  readonly vendor: string;
  readonly hardwareClass: string;
  readonly channel: string;
  /** Which signed environment this device obeys. */
  readonly environment: 'production' | 'lab' | 'rehearsal';
}

export interface EnginePorts {
  readonly disk: Disk;
  readonly board: Board;
  readonly clock: Clock;
  readonly random: Random;
  readonly source: ReleaseSource;
  readonly health: HealthChecker;
  readonly server: ServerReachability;
  readonly reporter: Reporter;
  readonly log: Log;
  readonly application?: Application;
  /** What the machine kept of how its last boot ended (a watchdog, a panic), in words; empty when nothing. */
  readonly lastBootEnd?: () => Promise<string>;
  /** Called whenever work got on. Silence for long is a hang. */
  readonly onProgress?: () => void;
}

export interface EngineSettings {
  readonly device: DeviceFacts;
  /** The agent's own folder on the data partition. */
  readonly stateDirectory: string;
  /** Root metadata from the factory image: trusted by its place, not by a signature. */
  readonly factoryRootPath: string;
  /** What the factory wrote into the first slot, for a device that never updated. */
  readonly factoryInstalled: { readonly sequence: number; readonly version: string };
  /** How long a trial may wait for a server that was reachable before, per attempt. */
  readonly trialServerWaitMs: number;
  /** The source is a directory, brought by a person: expired timestamp and snapshot are reported, not refused. */
  readonly offline?: boolean;
  /** How long an installation waits, all in all, for smaller forms of an image that are being made; else by environment. */
  readonly transportWaitMs?: number;
  /** Pauses after a failure; without it, 2 seconds growing to 15 minutes. */
  readonly retry?: { readonly baseMs: number; readonly capMs: number };
  /** How long in all, for one action, an application may put things off. */
  readonly inUse?: { readonly limitMs: number; readonly askEveryMs: number; readonly download: boolean };
}

/** How a run of the engine came to rest. */
export type EngineRest =
  | { readonly rest: 'idle' }
  /** The board was asked to reboot: the process should end now. */
  | { readonly rest: 'reboot' }
  /** Work is owed, and can go on after a pause (a source that is away). */
  | { readonly rest: 'retry'; readonly afterMs: number }
  | { readonly rest: 'held'; readonly why: string };

/** Polling's answer, handed to the engine: an action, or null to call off what is not armed yet. */
export type Offer = Action | null;
