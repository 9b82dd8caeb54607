/**
 * `npm run bench -- install`: whole and delta installations of one image onto a loop device, side by side with others'
 * programs; the same again as on a device with a slow card and without SHA instructions; and of an image four times as
 * large. In turn, so that a busy minute of the machine falls on all.
 */
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { mkdtemp, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { finished, pipeline } from 'node:stream/promises';
import { packBlocks } from '../../update-server/transport/pack-image.ts';
import { type AgentReleases, hashFile, makeAgentReleases, TRAVELS } from './agent-release.ts';
import { AGENT_NAMES, agentSubject, bundleInstaller } from './agent-subject.ts';
import { ourRecipe } from './delta-bench.ts';
import type { ImagePair } from './image-pair.ts';
import { madeOnce } from './made.ts';
import { type Absent, type Findings, medianOf, type Ratio, type Row, ratioOf, rowOf } from './measure.ts';
import { plainPrograms } from './peers/plain-programs.ts';
import { raucSubject } from './peers/rauc.ts';
import { makeSigningKey } from './peers/signing-key.ts';
import { type InstallSubject, isMissing, type MissingSubject } from './peers/subject.ts';
import { swupdateSubject } from './peers/swupdate.ts';
import { proveMask, SHA_MASK } from './sha-mask.ts';
import { Slot } from './slot.ts';
import type { Usage } from './usage.ts';
import { capped, findWriteCap, proveCap } from './write-cap.ts';

export interface InstallBenchOptions {
  readonly projectRoot: string;
  readonly folder: string;
  readonly pairs: readonly ImagePair[];
  readonly runs: number;
  readonly progress: (line: string) => void;
}

interface Measured extends Usage {
  readonly writtenMb: number | undefined;
}
type Results = ReadonlyMap<string, readonly Measured[]>;

export async function benchInstall(options: InstallBenchOptions): Promise<Findings> {
  const pair = options.pairs.find(({ name }) => name === 'rebuilt');
  if (pair === undefined) throw new Error('there is no rebuilt pair to install');
  const place = await mkdtemp(join(options.folder, 'run-'));
  const slot = await Slot.make(place, (await stat(pair.newPath)).size);
  try {
    const program = await bundleInstaller(place);
    const { releases, subjects } = await contestants(place, program, pair, slot, options);
    const parts = [
      await benchFast(slot, releases, subjects, options),
      await benchSlow(slot, releases, subjects, options),
      await benchLarge(place, program, pair, options),
    ];
    return {
      rows: parts.flatMap(({ rows }) => rows),
      ratios: parts.flatMap(({ ratios }) => ratios),
      absent: parts.flatMap(({ absent }) => absent ?? []),
    };
  } finally {
    slot.close();
    await rm(place, { recursive: true, force: true });
  }
}

type Subjects = readonly (InstallSubject | MissingSubject)[];

async function contestants(
  place: string,
  program: string,
  pair: ImagePair,
  slot: Slot,
  options: InstallBenchOptions,
): Promise<{ readonly releases: AgentReleases; readonly subjects: Subjects }> {
  const { progress } = options;
  progress('bundles and releases of one image');
  const files = { old: pair.oldPath, fresh: pair.newPath };
  const packed = await packedImage(pair.newPath, options);
  const recipe = await ourRecipe(pair, options);
  const releases = await makeAgentReleases(join(place, 'releases'), { ...files, packed, recipe });
  const key = await makeSigningKey(place);
  const subjects: (InstallSubject | MissingSubject)[] = [];
  for (const travel of TRAVELS) subjects.push(await agentSubject(place, program, releases, slot.path, travel));
  for (const wish of [
    { format: 'plain', compressor: 'zstd' },
    { format: 'plain', compressor: 'gzip' },
    { format: 'verity', compressor: 'zstd' },
  ] as const) {
    subjects.push(await raucSubject(place, pair.newPath, slot.path, key, wish));
  }
  subjects.push(await swupdateSubject(place, pair.newPath, slot.path, key, 'zstd'));
  subjects.push(await swupdateSubject(place, pair.newPath, slot.path, key, 'none'));
  subjects.push(...(await plainPrograms(place, pair.newPath, slot.path)));
  return { releases, subjects };
}

async function packedImage(path: string, { folder, progress }: InstallBenchOptions): Promise<string> {
  const { sha256, sizeBytes } = await hashFile(path);
  const made = await madeOnce(join(folder, 'made/packed', String(sizeBytes)), { sha256 }, async (into) => {
    progress(`packing blocks of ${path}`);
    const begunMs = performance.now();
    await packBlocks({
      coding: 'zstd',
      imagePath: path,
      imageSha256: sha256,
      outPath: join(into, 'blocks'),
      onProgress: () => undefined,
    });
    return { wallS: (performance.now() - begunMs) / 1000, cpuS: 0, peakMb: 0 };
  });
  return join(made.folder, 'blocks');
}

interface Round {
  readonly group: string;
  readonly env: Readonly<Record<string, string>>;
  readonly around: <T>(work: () => Promise<T>) => Promise<T>;
}

async function benchFast(
  slot: Slot,
  releases: AgentReleases,
  subjects: Subjects,
  options: InstallBenchOptions,
): Promise<Findings> {
  const round: Round = { group: `install to a ${slot.kind}`, env: {}, around: (work) => work() };
  const results = await measureRound(round, slot, releases, subjects, options);
  return { ...tableOf(round.group, results, subjects), ratios: ratiosOf(results) };
}

/** As a Raspberry Pi 4 with an SD card: writing capped, SHA instructions hidden. */
async function benchSlow(
  slot: Slot,
  releases: AgentReleases,
  subjects: Subjects,
  options: InstallBenchOptions,
): Promise<Findings> {
  const group = 'install, 25 MB/s to write, no SHA instructions';
  const cap = slot.isLoop ? findWriteCap() : { why: 'the slot is a file: this machine has no loop device' };
  const mask = await proveMask(options.runs);
  if ('why' in cap) {
    return { rows: mask, ratios: [], absent: subjects.map(({ name }) => ({ group, subject: name, why: cap.why })) };
  }
  options.progress('proving the cap on writing');
  const proof = [...mask, ...(await proveCap(slot, cap.files, options.runs))];
  const round: Round = { group, env: SHA_MASK, around: (work) => capped(slot, cap.files, work) };
  const results = await measureRound(round, slot, releases, subjects, options);
  const found = tableOf(group, results, subjects);
  const ratios = ratiosOf(results).map((ratio) => ({ ...ratio, name: `slow card: ${ratio.name}` }));
  return { ...found, rows: [...proof, ...found.rows], ratios };
}

async function measureRound(
  round: Round,
  slot: Slot,
  { fresh }: AgentReleases,
  subjects: Subjects,
  { runs, progress }: InstallBenchOptions,
): Promise<Results> {
  const results = new Map<string, Measured[]>();
  for (let run = 1; run <= runs; run += 1) {
    for (const subject of subjects) {
      if (isMissing(subject)) continue;
      if (subject.writes) await slot.clear();
      const before = slot.writtenBytes();
      const usage = await round.around(() => subject.run(round.env));
      const after = slot.writtenBytes();
      const writtenMb = before === undefined || after === undefined ? undefined : (after - before) / 1e6;
      // A program that did not write the image was not measured doing so.
      if (subject.writes && slot.digest(fresh.sizeBytes) !== fresh.sha256) {
        throw new Error(`${subject.name} left something else in the slot than the image`);
      }
      results.set(subject.name, [...(results.get(subject.name) ?? []), { ...usage, writtenMb }]);
      progress(`${round.group}, run ${run} of ${runs}: ${subject.name}: ${usage.wallS} s`);
    }
  }
  return results;
}

function tableOf(group: string, results: Results, subjects: Subjects): { rows: Row[]; absent: Absent[] } {
  const rows = [...results].flatMap(([subject, found]) => {
    const written = found.flatMap(({ writtenMb }) => writtenMb ?? []);
    return [
      rowOf(
        `${group}: wall`,
        subject,
        found.map(({ wallS }) => wallS),
        's',
      ),
      rowOf(
        `${group}: CPU`,
        subject,
        found.map(({ cpuS }) => cpuS),
        's',
      ),
      rowOf(
        `${group}: peak memory`,
        subject,
        found.map(({ peakMb }) => peakMb),
        'MB',
      ),
      ...(written.length === 0 ? [] : [rowOf(`${group}: written`, subject, written, 'MB')]),
    ];
  });
  const absent = subjects.flatMap((one) => (isMissing(one) ? [{ group, subject: one.name, why: one.why }] : []));
  return { rows, absent };
}

const MEMORY_AIM_MB = 80;
const WALL_AIM = 0.8;
const CPU_AIM = 0.7;

/** Against whichever of rauc's bundles was the faster one, each figure for itself. */
function ratiosOf(results: Results): Ratio[] {
  const median = (subject: string, of: 'wallS' | 'cpuS' | 'peakMb'): number =>
    medianOf((results.get(subject) ?? []).map((found) => found[of]));
  const ratios: Ratio[] = [];
  const raucs = [...results.keys()].filter((name) => name.startsWith('rauc '));
  for (const travel of TRAVELS) {
    const ours = AGENT_NAMES[travel];
    if (!results.has(ours)) continue;
    if (raucs.length > 0 && travel !== 'delta') {
      const best = (of: 'wallS' | 'cpuS'): number => Math.min(...raucs.map((name) => median(name, of)));
      ratios.push(ratioOf(`${ours}: wall / rauc's best`, median(ours, 'wallS') / best('wallS'), WALL_AIM));
      ratios.push(ratioOf(`${ours}: CPU / rauc's best`, median(ours, 'cpuS') / best('cpuS'), CPU_AIM));
    }
    ratios.push(ratioOf(`${ours}: peak MB`, median(ours, 'peakMb'), MEMORY_AIM_MB));
  }
  return ratios;
}

/** Four images in one: memory may not grow with it, nor CPU faster than it. */
async function benchLarge(
  place: string,
  program: string,
  pair: ImagePair,
  options: InstallBenchOptions,
): Promise<Findings> {
  const large = join(options.folder, 'large.img');
  if (!existsSync(large)) {
    options.progress('making an image of 2 GiB of the others');
    const out = createWriteStream(`${large}.part`);
    for (const path of [pair.newPath, pair.oldPath, pair.newPath, pair.oldPath]) {
      await pipeline(createReadStream(path), out, { end: false });
    }
    await finished(out.end());
    await rename(`${large}.part`, large);
  }
  const slot = await Slot.make(place, (await stat(large)).size);
  try {
    const packed = await packedImage(large, options);
    const releases = await makeAgentReleases(join(place, 'large'), { old: pair.oldPath, fresh: large, packed });
    const subjects: (InstallSubject | MissingSubject)[] = [];
    for (const travel of ['raw', 'packed'] as const) {
      subjects.push(await agentSubject(place, program, releases, slot.path, travel));
    }
    const round: Round = { group: 'install an image of 2 GiB', env: {}, around: (work) => work() };
    const results = await measureRound(round, slot, releases, subjects, options);
    const ratios = [...results].map(([subject, found]) =>
      ratioOf(`2 GiB: ${subject}: peak MB`, medianOf(found.map(({ peakMb }) => peakMb)), MEMORY_AIM_MB),
    );
    return { ...tableOf(round.group, results, subjects), ratios };
  } finally {
    slot.close();
  }
}
