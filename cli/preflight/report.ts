/** What a preflight says of itself: the verdict, what it cost, what it risks, and what it has not tried. */
import type { Wave } from '../../protocol/operator-api.ts';
import type { GatePolicy } from '../../update-server/core/gate.ts';
import type { Output } from '../output.ts';
import { formatBytes } from '../progress.ts';
import { formatWave } from '../waves.ts';
import type { Ending } from './device.ts';
import type { FleetCost } from './fleet-cost.ts';
import type { HaltingRisk } from './halting.ts';
import type { PreflightResult } from './preflight.ts';
import type { PreflightRelease } from './release.ts';

/** What a person said of the fleet and of the rollout to come. */
export interface Reckoning {
  readonly slotBytes: ReadonlyMap<string, number>;
  readonly pricePerMb: number | null;
  readonly waves: readonly Wave[];
  readonly policy: GatePolicy;
}

/** The same as it was typed, for the command that comes next. */
export interface RolloutWords {
  readonly waves: string;
  readonly maxFailed: string;
  readonly minSample: string;
}

/** Said with every verdict: an emulated device is no board. */
const NOT_TRIED = [
  'that the kernel and the userspace in the images start, and their health checks: nothing in them was run',
  "the board's bootloader, and its partitions beyond the sizes given with --slot",
  'the agent inside the images: the one of this installation updated',
  "people's signatures: throwaway keys stood in for them; `holdfast release sign` and `publish` check the real ones",
  'devices on releases older than the one started from',
] as const;

export interface Fleet {
  readonly devices: number;
  /** Of these, how many run the release that the preflight started from; null where only a number was given. */
  readonly onFrom: number | null;
}

/** Everything that there is to say. */
export interface PreflightReport {
  readonly from: PreflightRelease;
  readonly to: PreflightRelease;
  readonly result: PreflightResult;
  readonly fleet: Fleet | null;
  readonly costs: readonly FleetCost[];
  readonly risk: HaltingRisk | null;
  readonly settings: Reckoning;
}

const named = ({ content }: PreflightRelease): string => `${content.version} (sequence ${content.sequence})`;

function endingInWords({ outcome, by, code, detail }: Ending): string {
  const who = by === 'device' ? 'the device' : by === 'server' ? 'the server' : 'this command';
  return outcome === 'confirmed' ? `confirmed: ${detail}` : `${outcome} by ${who}: ${code}: ${detail}`;
}

/** For people. */
export function sayReport(out: Output, report: PreflightReport): void {
  const { from, to, result } = report;
  out.say(
    `${result.ok ? 'Good' : 'Not good'}: from ${named(from)} to ${named(to)}, class ${to.content.hardwareClass}.`,
  );
  out.table([
    ...(result.refusal === null ? [] : [['verdict', endingInWords(result.refusal)]]),
    ...result.devices.map((device) => [`${device.delta} delta`, endingInWords(device)]),
    ...result.recipes.map(({ component, sizeBytes, detail }) => [
      `delta of ${component}`,
      sizeBytes === null ? `could not be made: ${detail}` : formatBytes(sizeBytes),
    ]),
  ]);
  if (!result.ok) return;
  sayBytes(out, report);
  sayRisk(out, report);
  out.say();
  out.say(`Tried: ${tried(result).join('; ')}.`);
  out.say('Not tried:');
  for (const text of notTried(report)) out.say(`  - ${text}`);
}

function tried({ devices, refusal }: PreflightResult): string[] {
  if (refusal?.by === 'preflight') return [];
  const published = 'what the server checks at publication';
  if (refusal?.by === 'server') return [published];
  const verified = "the device's verifier: manifest, vendor, class, channel, sequence, floor, every block";
  const updates = devices.map(({ delta }) => `an update ${delta} delta: download, slot, read-back, trial, report`);
  return [published, verified, ...updates];
}

function notTried({ to, result, settings, fleet }: PreflightReport): string[] {
  const unsized = [...to.files.keys()].filter((component) => !settings.slotBytes.has(component));
  const more: string[] = [];
  if (unsized.length > 0) more.push(`the size of a slot: give --slot COMPONENT=SIZE for ${unsized.join(', ')}`);
  if (result.ok && result.recipes.length === 0) more.push('a delta: no image differs from an older one of its name');
  if (fleet !== null && fleet.onFrom !== null && fleet.onFrom < fleet.devices) {
    more.push(`${fleet.devices - fleet.onFrom} of ${fleet.devices} devices, which run another release`);
  }
  return [...NOT_TRIED, ...more];
}

function sayBytes(out: Output, { to, result, costs, fleet }: PreflightReport): void {
  const measured = result.devices.filter(({ fetched }) => fetched !== null);
  if (measured.length === 0) return;
  out.say();
  out.table([
    ['images', 'one device fetched', 'share', ...(costs.length === 0 ? [] : [`${fleet?.devices} devices`, 'price'])],
    ...measured.map(({ delta, fetched }) => {
      const share = ((fetched?.fetchedBytes ?? 0) * 100) / Math.max(1, fetched?.imageBytes ?? 1);
      const cost = costs.find((one) => one.delta === delta);
      return [
        `${delta} delta`,
        `${(fetched?.fetchedBytes ?? 0).toLocaleString('en-US')} bytes`,
        `${share.toFixed(1)} %`,
        ...(cost === undefined ? [] : [formatBytes(cost.bytes), cost.price === null ? '-' : cost.price.toFixed(2)]),
      ];
    }),
  ]);
  const maps = to.content.images.reduce((sum, { blockMap }) => sum + blockMap.sizeBytes, 0);
  out.say(`As the devices counted it; metadata, block maps (${formatBytes(maps)}) and reports come on top.`);
}

function sayRisk(out: Output, { risk, fleet, settings }: PreflightReport): void {
  out.say();
  if (risk === null || fleet === null) {
    out.say('How many devices a rollout risks: give --fleet N, or --server to count them.');
    return;
  }
  const { maxFailedPercent, minSample } = settings.policy;
  out.say(
    `A rollout to ${fleet.devices} devices that halts above ${maxFailedPercent} % failed, once ${minSample} attempted it:`,
  );
  const count = (value: number | null): string => (value === null ? 'never' : String(value));
  out.table([
    ['wave', 'size', 'adds', 'bears', 'halts at', 'failed at most'],
    ...risk.waves.map((wave, index) => [
      String(index + 1),
      formatWave(wave.wave),
      String(wave.added),
      `${wave.passesWithFailed} failed`,
      count(wave.haltsAtFailed),
      String(wave.failedAtMost),
    ]),
  ]);
  out.say(
    'Bears: so many of those it adds may fail, and the next wave opens all the same. Failed at most: what the waves',
  );
  out.say('before it bear, and every device of this one, since a halt does not reach a device that reboots already.');
  out.say(
    risk.everyDeviceFails === null
      ? 'It never halts by itself: lower --max-failed.'
      : `Where it fails on every device, it halts after ${risk.everyDeviceFails}.`,
  );
}

/** What comes next. */
export function sayNext(
  out: Output,
  folder: string,
  to: PreflightRelease,
  result: PreflightResult,
  rollout: RolloutWords,
): void {
  const { hardwareClass, releasePath } = to.content;
  if (!result.ok) {
    out.next(cureOf(codeOf(result)), 'holdfast release build …   (then this command again)');
    return;
  }
  out.next(
    `holdfast release sign ${folder} --key author-${hardwareClass}/author.key`,
    `holdfast release publish ${folder}`,
    `holdfast rollout start ${releasePath} --waves "${rollout.waves}" --max-failed ${rollout.maxFailed} --min-sample ${rollout.minSample}`,
  );
}

function codeOf({ refusal, devices }: PreflightResult): string {
  return refusal?.code ?? devices.find(({ outcome }) => outcome !== 'confirmed')?.code ?? 'confirmed';
}

const CURES: Readonly<Record<string, string>> = {
  'sequence-not-newer': 'give the release a higher --sequence than every one before it',
  'sequence-below-floor': 'give the release a --sequence at or above the floor',
  'vendor-mismatch': 'build it for the vendor of the devices, or start --from a release of its vendor',
  'class-mismatch': 'build it for the class of the devices, or start --from a release of its class',
  'channel-mismatch': 'build it for the channel of the devices, or start --from a release of its channel',
  'trial-attempts-exhausted': 'see what the bootloader said: a release has every image that a slot needs',
  'image-larger-than-slot': 'make the image smaller, or correct --slot if the partition is larger',
};

function cureOf(code: string): string {
  return CURES[code] ?? 'mend what the verdict names; docs/FORMATS.md lists the codes of refusals';
}

/** For machines. */
export function documentOf(folder: string, report: PreflightReport): Record<string, unknown> {
  const { from, to, result, fleet, costs, risk, settings } = report;
  const release = ({ content }: PreflightRelease) => {
    const { releasePath, version, sequence, hardwareClass, channel } = content;
    return { releasePath, version, sequence, hardwareClass, channel };
  };
  const { devices, refusal, recipes } = result;
  return {
    verdict: { good: result.ok, code: codeOf(result) },
    folder,
    from: release(from),
    to: release(to),
    refusal,
    devices,
    recipes,
    fleet: fleet === null ? null : { ...fleet, costs, pricePerMb: settings.pricePerMb },
    halting: risk === null ? null : { ...settings.policy, ...risk },
    tried: tried(result),
    notTried: notTried(report),
  };
}
