/**
 * `npm run qemu`: emulated boards with a real kernel and a real bootloader, against the real server on this machine.
 *
 * Exit status: 0 when all was as it must be, 1 when not, 130 when it was interrupted, else that of the Fault.
 */
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { reportFailure } from '../../platform/command-line.ts';
import { EXIT, errorText } from '../../platform/fault.ts';
import { secondsSince } from '../demo/patience.ts';
import { bold, say, sayFact } from '../demo/terminal.ts';
import { prepare, preparePrograms } from '../device-image/prepare.ts';
import { chooseAccelerator } from './accelerator.ts';
import { type Cut, cutPowerOften } from './cuts.ts';
import { LiveTable } from './live-table.ts';
import { type Loss, loseCacheOften } from './lost-cache.ts';
import { type QemuOptions, readQemuOptions, usageFault } from './options.ts';
import { OwnImage } from './own-image/own-image.ts';
import { OWN_IMAGE_SCENARIOS, tellReplaced } from './own-image/scenarios.ts';
import { writePage } from './page.ts';
import { type LabReport, type ScenarioReport, writeReport } from './report.ts';
import { buildSabotaged } from './sabotage.ts';
import { type Scenario, ScenarioLab } from './scenario.ts';
import { SCENARIOS } from './scenarios.ts';
import { World } from './world.ts';

const SHORT_CUTS = 5;

interface Plan {
  readonly scenarios: readonly Scenario[];
  readonly cuts: number;
  readonly losses: number;
}

function planOf(options: QemuOptions): Plan {
  const named = options.sabotage?.noticedBy.scenarios ?? options.scenarios;
  const there = options.imageFile === undefined ? SCENARIOS : OWN_IMAGE_SCENARIOS;
  const unknown = named.find((name) => there.every((one) => one.name !== name));
  if (unknown !== undefined) {
    throw usageFault(`no scenario is called ${unknown}; there are ${there.map(({ name }) => name).join(', ')}`);
  }
  const { sabotage, cuts, losses, all } = options;
  const scenarios = there.filter(({ name }) => named.includes(name));
  if (sabotage !== undefined) {
    return { scenarios, cuts: cuts ?? sabotage.noticedBy.cuts, losses: losses ?? sabotage.noticedBy.losses };
  }
  if (scenarios.length > 0) return { scenarios, cuts: cuts ?? 0, losses: losses ?? 0 };
  // A campaign is asked for by itself.
  if ((cuts ?? losses) !== undefined && !all) return { scenarios: [], cuts: cuts ?? 0, losses: losses ?? 0 };
  const wanted = there.filter(({ short }) => short || all);
  return { scenarios: wanted, cuts: cuts ?? SHORT_CUTS, losses: losses ?? (all ? SHORT_CUTS : 0) };
}

class LabRun {
  readonly #options: QemuOptions;
  readonly #world: World;
  readonly #reports: ScenarioReport[] = [];
  readonly #table: LiveTable;
  readonly #kernel: string;
  #current: ScenarioLab | undefined;

  constructor(options: QemuOptions, world: World, table: LiveTable, kernel: string) {
    this.#options = options;
    this.#kernel = kernel;
    this.#table = table;
    this.#world = world;
  }

  async conduct({ scenarios, cuts, losses }: Plan): Promise<LabReport> {
    const { seed } = this.#options;
    const startedMs = performance.now();
    const { own } = this.#world;
    if (own !== undefined) await this.#one('image', 'What the lab replaced in it', async (lab) => tellReplaced(lab));
    for (const scenario of scenarios) {
      await this.#one(scenario.name, scenario.title, (lab) => scenario.run(lab));
    }
    if (cuts > 0) {
      await this.#one('cuts', `${cuts} power cuts in the middle of an update, seed ${seed}`, async (lab) => {
        const settleEvery = Math.max(1, Math.floor(cuts / 5));
        await cutPowerOften(lab, { count: cuts, seed, settleEvery }, (cut) => {
          this.#table.above(() => sayFact(describe(cut, cuts)));
        });
      });
    }
    if (losses > 0) {
      await this.#one('losses', `${losses} disks that lost their cache during an update, seed ${seed}`, async (lab) => {
        await loseCacheOften(lab, { count: losses, seed }, (loss) => {
          this.#table.above(() => sayFact(describeLoss(loss, losses)));
        });
      });
    }
    const ok = this.#reports.length > 0 && this.#reports.every((report) => report.ok);
    return { ok, seconds: secondsSince(startedMs), kernel: this.#kernel, scenarios: this.#reports };
  }

  async end(): Promise<void> {
    await this.#current?.end();
  }

  async #one(name: string, title: string, work: (lab: ScenarioLab) => Promise<void>): Promise<void> {
    say(`\n${bold(`${name}: ${title}`)}`);
    const startedMs = performance.now();
    const lab = new ScenarioLab(this.#world, name, this.#table);
    this.#current = lab;
    try {
      await work(lab);
    } catch (error) {
      lab.check(false, errorText(error));
    } finally {
      await lab.end();
      this.#table.clear();
    }
    this.#reports.push({
      name,
      title,
      ok: lab.ok,
      seconds: secondsSince(startedMs),
      findings: lab.findings,
      guests: lab.guests.map(({ id, timeline, serialFile }) => ({ id, timeline, serialFile })),
    });
  }
}

function describe({ number, atMs, during, version, slot }: Cut, count: number): string {
  return `cut ${number} of ${count} after ${(atMs / 1000).toFixed(1)} s (${during}): boots ${version} from slot ${slot}`;
}

function describeLoss({ number, given, writes, lost, version, slot }: Loss, count: number): string {
  return `loss ${number} of ${count} after ${given} of ${writes} writes, ${lost} of them lost: boots ${version} from slot ${slot}`;
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

async function sabotaged({ sabotage }: QemuOptions, directory: string): Promise<{ agentFile?: string }> {
  if (sabotage === undefined) return {};
  const agentFile = join(directory, 'sabotaged-agent.mjs');
  await buildSabotaged(sabotage, agentFile);
  say(bold(`The agent of this run ${sabotage.title}: it must be noticed.`));
  return { agentFile };
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
    for (const { name, title, short } of SCENARIOS) say(`${name.padEnd(14)}${short ? 'short' : '     '}  ${title}`);
    return EXIT.ok;
  }
  const plan = planOf(options);
  const base = options.imageFile === undefined ? await prepare(sayFact) : undefined;
  if (base === undefined) await preparePrograms(sayFact);
  const { accelerator, why } = await chooseAccelerator();
  sayFact(why);
  if (options.prepare) {
    say('The lab is ready. Next: npm run qemu');
    return EXIT.ok;
  }
  const directory = await mkdtemp(join(options.parentDirectory ?? tmpdir(), 'holdfast-qemu-'));
  const kernel = base?.kernel ?? `that of ${options.imageFile}`;
  say(bold(`Emulated boards, kernel ${kernel}. Everything lies in ${directory}`));
  const stop = interrupted();
  const table = new LiveTable(options.console);
  let world: World | undefined;
  let run: LabRun | undefined;
  let succeeded = false;
  try {
    const tell = (line: string): void => table.above(() => sayFact(line));
    const made = base === undefined ? { own: await openOwn(options, directory, tell) } : { base };
    world = await World.open(directory, { ...made, accelerator, say: tell, ...(await sabotaged(options, directory)) });
    run = new LabRun(options, world, table, kernel);
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
    await world?.close();
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
