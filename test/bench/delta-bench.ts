/** `npm run bench -- delta`: bytes, CPU and memory of our recipes and of others' deltas; each is applied and compared. */
import { execFileSync, spawn } from 'node:child_process';
import { createReadStream, existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { BlockMapBuilder, encodeBlockMap } from '../../trust/blocks.ts';
import { type ImagePair, imagePairs } from './image-pair.ts';
import type { Ratio, Row } from './measure.ts';
import { rowOf } from './measure.ts';
import { packedPieces } from './packed-pieces.ts';

const ZSTD_AIM = 0.35;
const MEMORY_AIM_MB = 80;
const PEERS = ['zstd', 'xdelta3', 'zchunk', 'casync', 'debootstrap', 'time'];

interface Usage {
  readonly cpuSeconds: number;
  readonly peakMb: number;
}

/** One program to its end, measured by time(1). Throws when it fails. */
function run(program: string, args: readonly string[]): Promise<Usage & { readonly output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn('/usr/bin/time', ['-q', '-f', '%U %S %M', 'nice', '-n', '10', program, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    let said = '';
    child.stdout.on('data', (text) => {
      output += text;
    });
    child.stderr.on('data', (text) => {
      said += text;
    });
    child.once('error', reject);
    child.once('close', (status) => {
      const [user = '', system = '', kilobytes = ''] = said.trim().split('\n').at(-1)?.split(' ') ?? [];
      if (status !== 0) return reject(new Error(`${program} ${args.join(' ')}: status ${status}: ${said}`));
      resolve({ output, cpuSeconds: Number(user) + Number(system), peakMb: (Number(kilobytes) * 1024) / 1e6 });
    });
  });
}

interface Measured {
  readonly bytes: number;
  readonly make: Usage;
  readonly apply: Usage | undefined;
}

function same(pair: ImagePair, path: string): void {
  execFileSync('cmp', [pair.newPath, path]);
}

async function ours(pair: ImagePair, work: string, projectRoot: string): Promise<Measured> {
  const recipe = join(work, 'recipe');
  const map = join(work, 'map');
  const out = join(work, 'made');
  const applier = join(work, 'apply.mjs');
  const cli = join(projectRoot, 'cli/main.ts');
  const make = await run(process.execPath, [
    cli,
    'release',
    'delta',
    '--json',
    '--from',
    pair.oldPath,
    '--to',
    pair.newPath,
    '--out',
    recipe,
  ]);
  const blocks = new BlockMapBuilder();
  for await (const chunk of createReadStream(pair.newPath)) blocks.update(chunk);
  await writeFile(map, encodeBlockMap(blocks.finish().map));
  // Bundled as the agent is, so that reading TypeScript is not measured.
  await build({
    entryPoints: [join(projectRoot, 'test/bench/apply-delta.ts')],
    outfile: applier,
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'error',
  });
  const apply = await run(process.execPath, [
    applier,
    pair.oldPath,
    recipe,
    map,
    String(statSync(pair.newPath).size),
    out,
  ]);
  same(pair, out);
  return { bytes: statSync(recipe).size, make, apply };
}

async function zstd(pair: ImagePair, work: string): Promise<Measured> {
  const [delta, out] = [join(work, 'zst'), join(work, 'zst.out')];
  const make = await run('zstd', [
    '-q',
    '-19',
    '--long=31',
    '-T1',
    `--patch-from=${pair.oldPath}`,
    pair.newPath,
    '-o',
    delta,
  ]);
  const apply = await run('zstd', ['-q', '-d', '--long=31', `--patch-from=${pair.oldPath}`, delta, '-o', out]);
  same(pair, out);
  return { bytes: statSync(delta).size, make, apply };
}

async function xdelta(pair: ImagePair, work: string): Promise<Measured> {
  const [delta, out] = [join(work, 'xd'), join(work, 'xd.out')];
  const make = await run('xdelta3', [
    '-e',
    '-9',
    '-S',
    'lzma',
    '-B',
    '536870912',
    '-s',
    pair.oldPath,
    pair.newPath,
    delta,
  ]);
  const apply = await run('xdelta3', ['-d', '-B', '536870912', '-s', pair.oldPath, delta, out]);
  same(pair, out);
  return { bytes: statSync(delta).size, make, apply };
}

async function pieces(pair: ImagePair, work: string): Promise<Measured> {
  const missing = join(work, 'pieces');
  const started = process.cpuUsage();
  const { count } = packedPieces(await readFile(pair.oldPath), await readFile(pair.newPath), missing);
  const { user, system } = process.cpuUsage(started);
  const packed = await run('zstd', ['-q', '-19', '-T1', missing, '-o', `${missing}.zst`]);
  const make = { cpuSeconds: (user + system) / 1e6 + packed.cpuSeconds, peakMb: packed.peakMb };
  return { bytes: statSync(`${missing}.zst`).size + count * 4, make, apply: undefined };
}

const SUBJECTS = {
  holdfast: ours,
  'xdelta3 -9 -S lzma -B 512M': xdelta,
  '4 KiB pieces packed, zstd -19': pieces,
  'zstd -19 --long=31 --patch-from': zstd,
} as const;

export interface DeltaBenchOptions {
  readonly projectRoot: string;
  /** Where image pairs are kept. */
  readonly folder: string;
  readonly installPeers: boolean;
  readonly progress: (line: string) => void;
}

export async function benchDelta(options: DeltaBenchOptions): Promise<{ rows: Row[]; ratios: Ratio[] }> {
  if (options.installPeers) execFileSync('apt-get', ['install', '-y', '-q', ...PEERS], { stdio: ['ignore', 2, 2] });
  const pairs = imagePairs(options.folder);
  // One pair to a core: CPU and memory are measured, not wall time.
  const found = await Promise.all(pairs.map((pair) => benchPair(pair, options)));
  return { rows: found.flatMap(({ rows }) => rows), ratios: found.flatMap(({ ratios }) => ratios) };
}

async function benchPair(pair: ImagePair, options: DeltaBenchOptions): Promise<{ rows: Row[]; ratios: Ratio[] }> {
  const work = mkdtempSync(join(tmpdir(), 'holdfast-delta-bench-'));
  const results = new Map<string, Measured>();
  try {
    for (const [subject, measure] of Object.entries(SUBJECTS)) {
      if (subject.startsWith('xdelta3') && !existsSync('/usr/bin/xdelta3')) continue;
      options.progress(`${pair.name}: ${subject}`);
      const measured = await measure(pair, work, options.projectRoot);
      options.progress(`${pair.name}: ${subject}: ${measured.bytes} bytes`);
      results.set(subject, measured);
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return { rows: rowsOf(pair.name, results), ratios: ratiosOf(pair.name, results) };
}

function rowsOf(name: string, results: ReadonlyMap<string, Measured>): Row[] {
  return [...results].flatMap(([subject, { bytes, make, apply }]) => [
    rowOf(`${name}: delta`, subject, [bytes], 'bytes'),
    rowOf(`${name}: made in`, subject, [make.cpuSeconds], 's CPU'),
    rowOf(`${name}: made with`, subject, [make.peakMb], 'MB'),
    ...(apply === undefined
      ? []
      : [
          rowOf(`${name}: applied in`, subject, [apply.cpuSeconds], 's CPU'),
          rowOf(`${name}: applied with`, subject, [apply.peakMb], 'MB'),
        ]),
  ]);
}

function ratiosOf(name: string, results: ReadonlyMap<string, Measured>): Ratio[] {
  const own = results.get('holdfast');
  const ratios: Ratio[] = [];
  const ratio = (what: string, value: number | undefined, aim: number, text: string): void => {
    if (value !== undefined && Number.isFinite(value)) {
      ratios.push({ name: `${name}: ${what}`, value, aim: text, met: value <= aim });
    }
  };
  const zstdBytes = results.get('zstd -19 --long=31 --patch-from')?.bytes;
  const other = results.get('xdelta3 -9 -S lzma -B 512M');
  ratio('bytes / zstd --patch-from', zstdBytes && (own?.bytes ?? 0) / zstdBytes, ZSTD_AIM, `<= ${ZSTD_AIM}`);
  ratio('bytes / xdelta3', other && (own?.bytes ?? 0) / other.bytes, 1, '< 1');
  const cpu = other?.apply && (own?.apply?.cpuSeconds ?? 0) / other.apply.cpuSeconds;
  ratio('CPU to apply / xdelta3', cpu, 1, '<= 1');
  ratio('MB to apply', own?.apply?.peakMb, MEMORY_AIM_MB, `<= ${MEMORY_AIM_MB}`);
  return ratios;
}
