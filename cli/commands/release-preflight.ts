/**
 * `holdfast release preflight`: emulated devices go from the last release to this one before anybody signs it. What they
 * prove and what they do not is said each time; what comes of it for the fleet is reckoned from what they measured.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { faultOfSystemError } from '../../platform/command-line.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import type { DeviceView } from '../../protocol/operator-api.ts';
import type { ApiClient } from '../api-client.ts';
import { addCommand, collectValues, type Finish, type Outcome, onRun } from '../command.ts';
import { parseDuration } from '../duration.ts';
import { parseSlotSize } from '../image-option.ts';
import { imageProgress, type Output } from '../output.ts';
import { fleetCosts } from '../preflight/fleet-cost.ts';
import { haltingRisk } from '../preflight/halting.ts';
import { type PreflightResult, runPreflight } from '../preflight/preflight.ts';
import { newestOnServer, type PreflightRelease, releaseOfFolder, releaseOfServer } from '../preflight/release.ts';
import { documentOf, type Fleet, type PreflightReport, sayNext, sayReport } from '../preflight/report.ts';
import { demandGoOn } from '../preflight/wait.ts';
import { isReleaseFolder } from '../release-place.ts';
import { metadataOfServer } from '../server-metadata.ts';
import { type Session, withServer } from '../session.ts';
import { GATE_DEFAULTS, parsePercentage, parseWaves, parseWholeNumber, USUAL_WAVES } from '../waves.ts';

interface PreflightOptions {
  readonly from?: string;
  readonly server?: boolean;
  readonly root?: string;
  readonly slot: readonly string[];
  readonly fleet?: string;
  readonly pricePerMb?: string;
  readonly waves: string;
  readonly maxFailed: string;
  readonly minSample: string;
  readonly timeout: string;
  readonly work: string;
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

interface Given {
  readonly from: PreflightRelease;
  readonly fleet: Fleet | null;
}

async function preflight(out: Output, folder: string, options: PreflightOptions): Promise<Outcome> {
  const settings = settingsOf(options);
  const to = await releaseOfFolder(folder, imageProgress(out, 'Checking'));
  demandComponents(to, settings.slotBytes);
  const flown = await withFolder(settings.workDirectory, async (directory, interrupt) => {
    const given = await givenBy(out, to, options, settings.fleet, { directory: join(directory, 'from'), interrupt });
    return { ...given, result: await fly(out, given.from, to, settings, directory, interrupt) };
  });
  const { fleet, result } = flown;
  const report: PreflightReport = {
    ...flown,
    to,
    settings,
    costs: fleet === null ? [] : fleetCosts(result, fleet.devices, settings.pricePerMb),
    risk: fleet === null ? null : haltingRisk(settings.waves, fleet.devices, settings.policy),
  };
  sayReport(out, report);
  sayNext(out, folder, to, result, options);
  return { document: documentOf(folder, report), exitStatus: result.ok ? EXIT.ok : EXIT.refused };
}

/** A folder that only its owner reads, gone when the work has ended, however it ended. Fault `interrupted`. */
async function withFolder<T>(
  parent: string,
  work: (directory: string, interrupt: AbortSignal) => Promise<T>,
): Promise<T> {
  const directory = await mkdtemp(join(parent, 'holdfast-preflight-')).catch((error: unknown) => {
    throw faultOfSystemError(error, parent) ?? error;
  });
  const interrupt = new AbortController();
  const onSignal = (): void => interrupt.abort();
  // Once: a second Ctrl-C ends the command on the spot.
  for (const signal of SIGNALS) process.once(signal, onSignal);
  try {
    return await work(directory, interrupt.signal);
  } catch (error) {
    // A terminal interrupts the programs of the preflight too, and what they then fail of is not the matter.
    demandGoOn(interrupt.signal);
    throw faultOfSystemError(error, directory) ?? error;
  } finally {
    for (const signal of SIGNALS) process.off(signal, onSignal);
    await rm(directory, { recursive: true, force: true });
  }
}

async function fly(
  out: Output,
  from: PreflightRelease,
  to: PreflightRelease,
  settings: Settings,
  directory: string,
  signal: AbortSignal,
): Promise<PreflightResult> {
  const line = out.statusLine();
  try {
    return await runPreflight({
      from,
      to,
      slotBytes: settings.slotBytes,
      directory,
      timeoutMs: settings.timeoutMs,
      nowUnixS: Math.floor(Date.now() / 1000),
      signal,
      onState: (text, matter) => line.show(text, matter),
      onUpload(component, sizeBytes) {
        line.finish();
        return out.progress(`Giving the server ${component}`, sizeBytes);
      },
    });
  } finally {
    line.finish();
  }
}

function settingsOf(options: PreflightOptions) {
  const slots = options.slot.map(parseSlotSize);
  return {
    slotBytes: new Map(slots.map(({ component, sizeBytes }) => [component, sizeBytes])),
    fleet: options.fleet === undefined ? undefined : parseWholeNumber(options.fleet, '--fleet', 1, 100_000_000),
    pricePerMb: options.pricePerMb === undefined ? null : parsePrice(options.pricePerMb),
    waves: parseWaves(options.waves, 0),
    policy: {
      maxFailedPercent: parsePercentage(options.maxFailed, '--max-failed'),
      minSample: parseWholeNumber(options.minSample, '--min-sample', 1, 1_000_000),
    },
    timeoutMs: Math.max(1000, parseDuration(options.timeout, '--timeout')),
    workDirectory: resolve(options.work),
  };
}

type Settings = ReturnType<typeof settingsOf>;

function parsePrice(text: string): number {
  if (/^\d{1,6}(\.\d{1,9})?$/.test(text)) return Number(text);
  throw new Fault({
    code: 'number-malformed',
    what: `'${text}' is not a price`,
    where: '--price-per-mb',
    cure: 'Write it like 0.04, in your own currency for each million bytes.',
    exitStatus: EXIT.usage,
  });
}

/** A mistyped name would look like a slot that was checked. */
function demandComponents(to: PreflightRelease, slotBytes: ReadonlyMap<string, number>): void {
  const stranger = [...slotBytes.keys()].find((component) => !to.files.has(component));
  if (stranger === undefined) return;
  throw new Fault({
    code: 'slot-unknown',
    what: `the release has no image of ${stranger} (it has ${[...to.files.keys()].join(', ')})`,
    where: '--slot',
    cure: 'Name a component of the release.',
    exitStatus: EXIT.usage,
  });
}

interface Downloads {
  readonly directory: string;
  readonly interrupt: AbortSignal;
}

/** The release that devices run, and how many devices there are, from what the person named. */
async function givenBy(
  out: Output,
  to: PreflightRelease,
  options: PreflightOptions,
  fleet: number | undefined,
  downloads: Downloads,
): Promise<Given> {
  const told = fleet === undefined ? null : { devices: fleet, onFrom: null };
  const { from: place } = options;
  const folder = place !== undefined && (await isReleaseFolder(place)) ? place : undefined;
  const fromFolder = async (path: string) => releaseOfFolder(path, imageProgress(out, 'Checking the older'));
  if (options.server !== true) {
    if (folder !== undefined) return { from: await fromFolder(folder), fleet: told };
    throw new Fault({
      code: place === undefined ? 'option-missing' : 'release-unknown',
      what:
        place === undefined
          ? 'the release that devices run now is not named'
          : 'this is not a release folder, and the server is not to be asked',
      where: place ?? '--from',
      cure: 'Give --from FOLDER (the release folder of the last release), or --server to take it from the server.',
      exitStatus: EXIT.usage,
    });
  }
  return withServer(out, async (session) => {
    const from =
      folder === undefined ? await lastRelease(out, session, to, options, downloads) : await fromFolder(folder);
    return { from, fleet: told ?? (await countFleet(session.api, to, from)) };
  });
}

async function lastRelease(
  out: Output,
  { api, profile }: Session,
  to: PreflightRelease,
  options: PreflightOptions,
  downloads: Downloads,
): Promise<PreflightRelease> {
  const metadata = await metadataOfServer(api, profile, options.root);
  const artifactPiece: ApiClient['artifactPiece'] = (...piece) => {
    demandGoOn(downloads.interrupt);
    return api.artifactPiece(...piece);
  };
  const releasePath = options.from ?? newestOnServer(metadata, to.content);
  return releaseOfServer(out, { artifactPiece }, metadata, releasePath, downloads.directory);
}

/** The devices that a rollout of the release would be for. */
async function countFleet(
  api: Pick<ApiClient, 'devices'>,
  to: PreflightRelease,
  from: PreflightRelease,
): Promise<Fleet | null> {
  const { hardwareClass, channel } = to.content;
  const belongs = (device: DeviceView): boolean =>
    device.enrolment === 'enrolled' && device.hardwareClass === hardwareClass && device.channel === channel;
  const devices = (await api.devices()).devices.filter(belongs);
  if (devices.length === 0) return null;
  const { sequence } = from.content;
  return {
    devices: devices.length,
    onFrom: devices.filter(({ installed }) => installed?.sequence === sequence).length,
  };
}

export function addPreflightCommand(group: Command, finish: Finish): void {
  const command = addCommand(group, {
    usage: 'preflight RELEASE',
    summary: 'take emulated devices from the last release to this one, before anybody signs (exit 0: good; 4: not)',
    details:
      'RELEASE is a release folder, signed or not. Signs a copy of exactly its content with throwaway keys, starts a server ' +
      'on loopback and devices as plain processes, and removes all of it. Your keys and your server are not touched. Nothing ' +
      'inside the images is run: what that leaves untried is printed with the verdict. Needs room for about six times the ' +
      'images in --work.',
    examples: [
      'holdfast release preflight rel-2 --server',
      'holdfast release preflight rel-2 --from rel-1 --fleet 5000 --price-per-mb 0.04 --slot boot=64MiB --slot rootfs=512MiB',
    ],
  })
    .option('--from <RELEASE>', 'the release that devices run: its folder, or with --server its path there')
    .option('--server', 'take the last release, unless --from names one, and the count of devices from your server')
    .option('--root <FILE>', 'with --server: the root to trust, instead of the one met at login')
    .option('--slot <COMPONENT=SIZE>', 'size of a partition, like rootfs=512MiB; once for each', collectValues, [])
    .option('--fleet <N>', 'how many devices the release is for')
    .option('--price-per-mb <PRICE>', 'what a million bytes cost a device')
    .option('--waves <LIST>', 'the waves of the rollout to come', USUAL_WAVES)
    .option('--max-failed <PERCENT>', 'its share of failures that halts it', GATE_DEFAULTS.maxFailed)
    .option('--min-sample <N>', 'its count of attempts below which failures do not count', GATE_DEFAULTS.minSample)
    .option('--timeout <DURATION>', 'how long one device, or one delta, may take', '30m')
    .option('--work <FOLDER>', 'where devices and server are made, and removed', tmpdir());
  onRun<PreflightOptions>(command, finish, (out, options, folder = '') => preflight(out, folder, options));
}
