/**
 * Bytes, CPU and memory of our recipes and of others' deltas. Making is dear and done once (made.ts); applying is done
 * several times, in turn, and each result is compared with the new image byte for byte.
 */
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { needProgram } from '../../scripts/programs.ts';
import { hashFile } from './agent-release.ts';
import { type Applied, type DeltaSubject, deltaSubjects, OURS, XDELTA, ZSTD } from './delta-subjects.ts';
import type { ImagePair } from './image-pair.ts';
import { type Made, madeOnce } from './made.ts';
import { type Absent, type Findings, medianOf, type Ratio, type Row, ratioOf, rowOf } from './measure.ts';
import { missing } from './peers/packages.ts';

const ZSTD_AIM = 0.35;
const MEMORY_AIM_MB = 80;

export interface DeltaBenchOptions {
  readonly projectRoot: string;
  /** Where images are kept, and what was made of them. */
  readonly folder: string;
  readonly pairs: readonly ImagePair[];
  readonly runs: number;
  readonly progress: (line: string) => void;
}

/** One way, for one pair of images. */
interface Contestant {
  readonly pair: ImagePair;
  readonly subject: DeltaSubject;
  readonly made: Made;
  readonly applied: Applied[];
  bytes: number;
}

export async function benchDelta(options: DeltaBenchOptions): Promise<Findings> {
  const { pairs, projectRoot, progress, runs } = options;
  const subjects = deltaSubjects(projectRoot);
  const able = subjects.filter(({ needs }) => missing(...needs) === undefined);
  const absent: Absent[] = pairs.flatMap(({ name }) =>
    subjects.flatMap((subject) => {
      const why = missing(...subject.needs);
      return why === undefined ? [] : [{ group: `delta, ${name}`, subject: subject.name, why }];
    }),
  );
  const contestants: Contestant[] = [];
  for (const pair of pairs) {
    for (const subject of able) {
      contestants.push({ pair, subject, made: await makeDelta(pair, subject, options), applied: [], bytes: 0 });
    }
  }
  for (let run = 1; run <= runs; run += 1) {
    for (const contestant of contestants) {
      progress(`applying, run ${run} of ${runs}: ${contestant.pair.name}, ${contestant.subject.name}`);
      await applyOnce(contestant, options.folder);
    }
  }
  const found = pairs.map((pair) =>
    findingsOf(
      pair,
      contestants.filter((one) => one.pair === pair),
    ),
  );
  return { rows: found.flatMap(({ rows }) => rows), ratios: found.flatMap(({ ratios }) => ratios), absent };
}

/** The recipe of a pair; where the agent finds it. */
export async function ourRecipe(pair: ImagePair, options: DeltaBenchOptions): Promise<string> {
  const ours = deltaSubjects(options.projectRoot).find(({ name }) => name === OURS);
  if (ours === undefined) throw new Error(`${OURS} is no longer measured`);
  return join((await makeDelta(pair, ours, options)).folder, 'recipe');
}

async function makeDelta(pair: ImagePair, subject: DeltaSubject, options: DeltaBenchOptions): Promise<Made> {
  const { folder, progress } = options;
  const place = join(folder, 'made', pair.name, subject.name.replaceAll(/[^a-z0-9]+/gi, '-'));
  const [old, fresh] = [await hashFile(pair.oldPath), await hashFile(pair.newPath)];
  const ingredients = { old: old.sha256, fresh: fresh.sha256, subject: subject.name, version: await subject.version() };
  return madeOnce(place, ingredients, (into) => {
    progress(`making: ${pair.name}, ${subject.name}`);
    return subject.make(pair, into);
  });
}

async function applyOnce(contestant: Contestant, parent: string): Promise<void> {
  const { pair, subject, made } = contestant;
  const work = await mkdtemp(join(parent, 'run-'));
  try {
    const [out, scratch] = [join(work, 'made'), join(work, 'scratch')];
    await mkdir(scratch);
    const applied = await subject.apply(pair, made.folder, out, scratch);
    await needProgram('cmp', [pair.newPath, out]);
    contestant.applied.push(applied);
    contestant.bytes = applied.fetchedBytes ?? (await sizeOf(subject.travels.map((name) => join(made.folder, name))));
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function sizeOf(paths: readonly string[]): Promise<number> {
  const sizes = await Promise.all(paths.map(async (path) => (await stat(path)).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

function findingsOf({ name }: ImagePair, contestants: readonly Contestant[]): { rows: Row[]; ratios: Ratio[] } {
  const group = `delta, ${name}`;
  const rows = contestants.flatMap(({ subject, bytes, made, applied }) => [
    rowOf(`${group}: to download`, subject.name, [bytes], 'bytes'),
    rowOf(
      `${group}: applied in`,
      subject.name,
      applied.map(({ cpuS }) => cpuS),
      's CPU',
    ),
    rowOf(
      `${group}: applied in all`,
      subject.name,
      applied.map(({ wallS }) => wallS),
      's',
    ),
    rowOf(
      `${group}: applied with`,
      subject.name,
      applied.map(({ peakMb }) => peakMb),
      'MB',
    ),
    rowOf(`${group}: made once in`, subject.name, [made.usage.cpuS], 's CPU'),
    rowOf(`${group}: made once with`, subject.name, [made.usage.peakMb], 'MB'),
  ]);
  const of = (subject: string) => contestants.find((one) => one.subject.name === subject);
  const [ours, zstd, xdelta] = [of(OURS), of(ZSTD), of(XDELTA)];
  if (ours === undefined) return { rows, ratios: [] };
  const cpu = ({ applied }: Contestant): number => medianOf(applied.map(({ cpuS }) => cpuS));
  const peak = medianOf(ours.applied.map(({ peakMb }) => peakMb));
  const ratios = [
    ...(zstd === undefined ? [] : [ratioOf(`${name}: bytes / ${ZSTD}`, ours.bytes / zstd.bytes, ZSTD_AIM)]),
    ...(xdelta === undefined
      ? []
      : [
          ratioOf(`${name}: bytes / ${XDELTA}`, ours.bytes / xdelta.bytes, 1),
          ratioOf(`${name}: CPU to apply / ${XDELTA}`, cpu(ours) / cpu(xdelta), 1),
        ]),
    ratioOf(`${name}: MB to apply`, peak, MEMORY_AIM_MB),
  ];
  return { rows, ratios };
}
