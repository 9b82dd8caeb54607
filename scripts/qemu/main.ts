/**
 * `npm run qemu`: emulated boards with a real kernel and a real bootloader, against the real server on this machine.
 *
 * Exit status: 0 when all was as it must be, 1 when not, 130 when it was interrupted, else that of the Fault.
 */
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { reportFailure } from '../../platform/command-line.ts';
import { EXIT } from '../../platform/fault.ts';
import { bold, say, sayFact } from '../demo/terminal.ts';
import { AGENT_BUNDLE, FIRST_BOOT_BUNDLE } from '../device-image/device-base.ts';
import { prepare, preparePrograms } from '../device-image/prepare.ts';
import { chooseAccelerator } from './accelerator.ts';
import { fetchBroker } from './first-boot/factory-broker.ts';
import { FIRST_BOOT_SCENARIOS } from './first-boot/scenarios.ts';
import { LabRun, type Plan } from './lab-run.ts';
import { LiveTable } from './live-table.ts';
import { type QemuOptions, readQemuOptions, usageFault } from './options.ts';
import { OwnImage } from './own-image/own-image.ts';
import { OWN_IMAGE_SCENARIOS } from './own-image/scenarios.ts';
import { writePage } from './page.ts';
import { writeReport } from './report.ts';
import { buildSabotaged } from './sabotage.ts';
import type { Scenario } from './scenario.ts';
import { SCENARIOS } from './scenarios.ts';
import { VERITY_SCENARIOS } from './verity-scenarios.ts';
import { World } from './world.ts';

const SHORT_CUTS = 5;
const ALL_SCENARIOS: readonly Scenario[] = [...SCENARIOS, ...FIRST_BOOT_SCENARIOS, ...VERITY_SCENARIOS];

/** What there is to choose from. */
const scenariosFor = ({ imageFile }: QemuOptions): readonly Scenario[] =>
  imageFile === undefined ? ALL_SCENARIOS : OWN_IMAGE_SCENARIOS;

function planOf(options: QemuOptions): Plan {
  const there = scenariosFor(options);
  const named = options.sabotage?.noticedBy.scenarios ?? options.scenarios;
  const unknown = named.find((name) => there.every((one) => one.name !== name));
  if (unknown !== undefined) {
    throw usageFault(`no scenario is called ${unknown}; there are ${there.map(({ name }) => name).join(', ')}`);
  }
  const { sabotage, losses, all, userspace, boots, devices } = options;
  const possible = there.filter(({ onlyOn }) => onlyOn === undefined || onlyOn === userspace.name);
  const impossible = named.find((name) => possible.every((one) => one.name !== name));
  if (impossible !== undefined) throw usageFault(`the scenario ${impossible} is not for --userspace ${userspace.name}`);
  const scenarios = possible.filter(({ name }) => named.includes(name));
  const takesCuts = scenarios.some((one) => one.takesCuts);
  const cuts = takesCuts ? 0 : options.cuts;
  const wishes = { boots, devices, cuts: takesCuts ? options.cuts : undefined };
  if (sabotage !== undefined) {
    return { scenarios, wishes, cuts: cuts ?? sabotage.noticedBy.cuts, losses: losses ?? sabotage.noticedBy.losses };
  }
  if (scenarios.length > 0) return { scenarios, wishes, cuts: cuts ?? 0, losses: losses ?? 0 };
  // A campaign is asked for by itself.
  if ((cuts ?? losses) !== undefined && !all) return { scenarios: [], wishes, cuts: cuts ?? 0, losses: losses ?? 0 };
  const wanted = possible.filter(({ short }) => short || all);
  return { scenarios: wanted, wishes, cuts: cuts ?? SHORT_CUTS, losses: losses ?? (all ? SHORT_CUTS : 0) };
}

/** Nothing of the run needs a device that is not verified. */
function isAllVerified({ scenarios, cuts, losses }: Plan): boolean {
  return scenarios.length > 0 && scenarios.every(({ verified }) => verified) && cuts + losses === 0;
}

/** Disks, images and keys go; the report and the consoles stay. */
async function tidy(directory: string): Promise<void> {
  const kept = ['devices', 'report.html', 'report.json'];
  for (const name of await readdir(directory)) {
    if (!kept.includes(name)) await rm(join(directory, name), { recursive: true, force: true });
  }
  for (const name of await readdir(join(directory, 'devices'))) {
    if (!name.endsWith('.serial')) await rm(join(directory, 'devices', name), { recursive: true, force: true });
  }
}

async function sabotaged(
  { sabotage }: QemuOptions,
  directory: string,
): Promise<{ sabotagedBundles?: Readonly<Record<string, string>> }> {
  if (sabotage === undefined) return {};
  const file = join(directory, 'sabotaged.mjs');
  await buildSabotaged(sabotage, file);
  say(bold(`The agent of this run ${sabotage.title}: it must be noticed.`));
  const place = sabotage.bundle === 'agent' ? AGENT_BUNDLE : FIRST_BOOT_BUNDLE;
  return { sabotagedBundles: { [place]: file } };
}

/** An image that cannot be used leaves nothing behind: its copy may be large. */
async function openOwn(
  { imageFile = '' }: QemuOptions,
  directory: string,
  tell: (line: string) => void,
): Promise<OwnImage> {
  const folder = join(directory, 'own');
  await mkdir(folder, { mode: 0o700 });
  try {
    return await OwnImage.open(imageFile, folder, tell);
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

const interrupted = (): Promise<void> =>
  new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });

async function main(): Promise<number> {
  const options = readQemuOptions(process.argv.slice(2));
  if (options === undefined) return EXIT.ok;
  if (options.list) {
    for (const { name, title, short } of scenariosFor(options))
      say(`${name.padEnd(14)}${short ? 'short' : '     '}  ${title}`);
    return EXIT.ok;
  }
  const plan = planOf(options);
  const verity = options.verity || isAllVerified(plan);
  const { imageFile, userspace } = options;
  const base = imageFile === undefined ? await prepare({ userspace, verified: verity, say: sayFact }) : undefined;
  if (base === undefined) await preparePrograms(sayFact);
  const apart = !verity && plan.scenarios.some(({ verified }) => verified);
  const verifiedBase = apart ? await prepare({ userspace, verified: true, say: sayFact }) : base;
  if (base?.userspace.hasSystemd === true) await fetchBroker(sayFact);
  const { accelerator, why } = await chooseAccelerator();
  sayFact(why);
  if (options.prepare) {
    say('The lab is ready. Next: npm run qemu');
    return EXIT.ok;
  }
  const parent = options.parentDirectory ?? tmpdir();
  await mkdir(parent, { recursive: true });
  const directory = await mkdtemp(join(parent, 'holdfast-qemu-'));
  const kernel = base === undefined ? `that of ${imageFile}` : `${base.kernel}, ${base.userspace.name}`;
  say(bold(`Emulated boards, kernel ${kernel}. Everything lies in ${directory}`));
  const stop = interrupted();
  const table = new LiveTable(options.console);
  let run: LabRun | undefined;
  let succeeded = false;
  try {
    const parts = {
      accelerator,
      say: (line: string): void => table.above(() => sayFact(line)),
      ...(await sabotaged(options, directory)),
    };
    const openWorld = async (folder: string, verified: boolean): Promise<World> => {
      await mkdir(join(directory, folder), { recursive: true });
      const from = verified ? verifiedBase : base;
      const made =
        from === undefined ? { own: await openOwn(options, join(directory, folder), parts.say) } : { base: from };
      return World.open(join(directory, folder), { ...parts, ...made, verified });
    };
    run = await LabRun.open({ ...options, verity, kernel, table, openWorld });
    if (options.stay) {
      await run.stay(stop);
      succeeded = true;
      return EXIT.ok;
    }
    const report = await Promise.race([run.conduct(plan), stop]);
    if (report === undefined) return 130;
    succeeded = report.ok;
    const path = await writeReport(options.jsonFile ?? join(directory, 'report.json'), report);
    const page = await writePage(join(directory, 'report.html'), report);
    const failed = report.scenarios.filter(({ ok }) => !ok).map(({ name }) => name);
    say(
      `\n${report.scenarios.length - failed.length} of ${report.scenarios.length} as they must be, in ${report.seconds} s: ${page}, ${path}`,
    );
    if (failed.length > 0) say(`Not so: ${failed.join(', ')}. Consoles: ${join(directory, 'devices')}`);
    return report.ok ? EXIT.ok : EXIT.bug;
  } finally {
    await run?.end();
    // Where something is to be looked at, everything stays.
    if (succeeded && !options.keep) await tidy(directory);
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  process.exitCode = reportFailure('qemu', error, { json: false, debug: process.argv.includes('--debug') });
}
process.exit();
