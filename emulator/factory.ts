/**
 * The factory: makes one emulated device's folder from images, a claim and the trusted root, as a production line
 * writes a card. The device has no key of its own yet; it makes that at its first boot.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeDisk } from '../platform/disk.ts';
import { emulatedPaths, FACTORY_BOOT_ENV, writeBootEnv } from '../platform/emulated-boot-env.ts';

export interface FactoryRequest {
  /** Made; must not exist yet. */
  readonly directory: string;
  /** Paths, by component. */
  readonly images: Readonly<Record<string, string>>;
  readonly installed: { readonly sequence: number; readonly version: string };
  readonly vendor: string;
  readonly hardwareClass: string;
  readonly channel: string;
  readonly environment: 'lab' | 'rehearsal';
  /** Path of the trusted root metadata. */
  readonly rootFile: string;
  /** The claim file's text (protocol/enrolment.ts, ClaimFile). */
  readonly claim: string;
  readonly server: { readonly url: string; readonly mqttUrl: string | null; readonly anchorsFile: string };
  readonly timing: FactoryTiming;
  /** Left out: agent.json says nothing of a first boot, and the agent asks for none. */
  readonly firstBoot?: FactoryFirstBoot;
  /** `none` where the images do not run here: nothing can be asked of them, and this machine's own state says nothing. */
  readonly health?: 'image' | 'none';
}

export interface FactoryFirstBoot {
  /** `firstBoot.providers` of agent.json, for what the images bring. */
  readonly providers: object;
  /** Public keys of owners, hex, for devices whose root names none. */
  readonly owners: readonly string[];
}

export interface FactoryTiming {
  readonly pollIntervalMs: number;
  readonly healthDeadlineMs: number;
  readonly trialServerWaitMs: number;
  readonly retryBaseMs: number;
  readonly retryCapMs: number;
}

/** Fast enough to watch; a real product polls every few minutes. */
export const DEMO_TIMING: FactoryTiming = {
  pollIntervalMs: 2000,
  healthDeadlineMs: 15_000,
  trialServerWaitMs: 20_000,
  retryBaseMs: 250,
  retryCapMs: 2000,
};

/** Burnt into each board. Nothing of the machine below it may be taken for this board's own: all devices here would share it. */
const SERIAL_NUMBER = 'board/serial-number';
const OWNERS = 'owners';

function firstBootConfig({ providers, owners }: FactoryFirstBoot): unknown {
  return {
    providers,
    escrow: { ownersFile: owners.length === 0 ? null : OWNERS },
    hardware: [{ source: 'device-tree-serial', path: `../${SERIAL_NUMBER}` }],
  };
}

const NO_HEALTH_CHECKS = {
  directory: null,
  builtin: { minFreeBytes: 0, minAvailableMemoryBytes: 0, systemd: false },
} as const;

function agentConfig(request: FactoryRequest): unknown {
  const { vendor, hardwareClass, channel, environment, installed, server, timing, health, firstBoot } = request;
  return {
    format: 'holdfast-agent-1',
    vendor,
    hardwareClass,
    channel,
    environment,
    board: { kind: 'emulated', directory: '..' },
    dataDirectory: '../data',
    factoryRoot: 'root.json',
    factoryInstalled: installed,
    claimFile: 'claim.json',
    server: { url: server.url, mqttUrl: server.mqttUrl, anchorsFile: 'server-ca.pem' },
    health: {
      ...(health === 'none' ? NO_HEALTH_CHECKS : { directory: '../run/rootfs/usr/lib/holdfast/health.d' }),
      deadlineMs: timing.healthDeadlineMs,
    },
    poll: { intervalMs: timing.pollIntervalMs },
    trial: { serverWaitMs: timing.trialServerWaitMs },
    retry: { baseMs: timing.retryBaseMs, capMs: timing.retryCapMs },
    ...(firstBoot === undefined ? {} : { firstBoot: firstBootConfig(firstBoot) }),
  };
}

export async function makeDevice(request: FactoryRequest): Promise<void> {
  const { directory, images } = request;
  const { slots } = emulatedPaths(directory);
  const factory = join(directory, 'factory');
  await mkdir(directory, { mode: 0o700 });
  await mkdir(factory, { mode: 0o700 });
  await mkdir(join(directory, 'data'), { mode: 0o700 });
  await mkdir(join(slots, 'a'), { recursive: true });
  await mkdir(join(slots, 'b'), { recursive: true });
  for (const [component, path] of Object.entries(images)) {
    await copyFile(path, join(slots, `a/${component}.img`), constants.COPYFILE_FICLONE);
  }
  await copyFile(request.rootFile, join(factory, 'root.json'));
  await copyFile(request.server.anchorsFile, join(factory, 'server-ca.pem'));
  await writeFile(join(factory, 'claim.json'), request.claim, { mode: 0o600 });
  await writeFile(join(factory, 'agent.json'), `${JSON.stringify(agentConfig(request), null, 2)}\n`, { mode: 0o600 });
  await writeFile(join(factory, OWNERS), (request.firstBoot?.owners ?? []).map((key) => `${key}\n`).join(''));
  await writeFile(join(directory, SERIAL_NUMBER), `${randomBytes(8).toString('hex')}\n`);
  await writeBootEnv(nodeDisk, directory, FACTORY_BOOT_ENV);
}
