/** Ways to come from one image to another with few bytes: ours and others'. Each makes, and each applies. */
import { hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';
import { AGENT_ENVIRONMENT, agentNodeFlags } from '../../scripts/agent-launcher.ts';
import { runProgram } from '../../scripts/programs.ts';
import { BlockMapBuilder, encodeBlockMap } from '../../trust/blocks.ts';
import type { ImagePair } from './image-pair.ts';
import { digestOfSources } from './made.ts';
import { packPieces } from './packed-pieces.ts';
import type { Peer } from './peers/packages.ts';
import { RangeServer } from './range-server.ts';
import { type Command, measureProgram, type Usage } from './usage.ts';

export interface Applied extends Usage {
  /** What came over the network; where the delta is one file, its size is. */
  readonly fetchedBytes?: number;
}

export interface DeltaSubject {
  readonly name: string;
  readonly needs: readonly Peer[];
  /** What the result depends on, besides the images. */
  version(): Promise<string>;
  /** Fills `folder`. */
  make(pair: ImagePair, folder: string): Promise<Usage>;
  /** Files of that folder that travel; none where the network counts. */
  readonly travels: readonly string[];
  /** Makes `out`, the new image. `scratch` is empty. */
  apply(pair: ImagePair, folder: string, out: string, scratch: string): Promise<Applied>;
}

const versionOf =
  (program: string, ...args: string[]) =>
  async (): Promise<string> => {
    const { stdout, stderr } = await runProgram(program, args);
    return (stdout || stderr).split('\n')[0] ?? '';
  };

const nodeOf = (...args: string[]): Command => [process.execPath, ...args];

/** Bundled as the agent is, so that reading TypeScript is not measured. */
async function bundle(projectRoot: string, name: string, folder: string): Promise<string> {
  const outfile = join(folder, `${name}.mjs`);
  const entryPoints = [join(projectRoot, `test/bench/${name}.ts`)];
  await build({ entryPoints, outfile, bundle: true, platform: 'node', format: 'esm', logLevel: 'error' });
  return outfile;
}

export const OURS = 'holdfast';
export const ZSTD = 'zstd -19 --long=31 --patch-from';
export const XDELTA = 'xdelta3 -9 -S lzma -B 512M';
const XDELTA_BUFFER = ['-B', '536870912'] as const;

export function deltaSubjects(projectRoot: string): readonly DeltaSubject[] {
  return [holdfast(projectRoot), xdelta, zstd, pieces(projectRoot), casync, zchunk];
}

const holdfast = (projectRoot: string): DeltaSubject => ({
  name: OURS,
  needs: [],
  version: () => digestOfSources(join(projectRoot, 'delta')),
  travels: ['recipe'],
  async make({ oldPath, newPath }, folder) {
    const blocks = new BlockMapBuilder();
    for await (const chunk of createReadStream(newPath)) blocks.update(chunk);
    await writeFile(join(folder, 'map'), encodeBlockMap(blocks.finish().map));
    const images = ['--from', oldPath, '--to', newPath, '--out', join(folder, 'recipe')];
    return measureProgram(nodeOf(join(projectRoot, 'cli/main.ts'), 'release', 'delta', '--json', ...images));
  },
  async apply({ oldPath, newPath }, folder, out, scratch) {
    const applier = await bundle(projectRoot, 'apply-delta', scratch);
    const size = String((await stat(newPath)).size);
    const command = nodeOf(
      ...agentNodeFlags(projectRoot),
      applier,
      oldPath,
      join(folder, 'recipe'),
      join(folder, 'map'),
      size,
      out,
    );
    return measureProgram(command, { env: AGENT_ENVIRONMENT });
  },
});

const xdelta: DeltaSubject = {
  name: XDELTA,
  needs: ['xdelta3'],
  version: versionOf('xdelta3', '-V'),
  travels: ['delta'],
  make: ({ oldPath, newPath }, folder) => {
    const how = ['-e', '-9', '-S', 'lzma', ...XDELTA_BUFFER];
    return measureProgram(['xdelta3', ...how, '-s', oldPath, newPath, join(folder, 'delta')]);
  },
  apply: ({ oldPath }, folder, out) =>
    measureProgram(['xdelta3', '-d', ...XDELTA_BUFFER, '-s', oldPath, join(folder, 'delta'), out]),
};

const zstd: DeltaSubject = {
  name: ZSTD,
  needs: ['zstd'],
  version: versionOf('zstd', '--version'),
  travels: ['delta'],
  make: ({ oldPath, newPath }, folder) => {
    const how = ['-q', '-19', '--long=31', '-T1', `--patch-from=${oldPath}`];
    return measureProgram(['zstd', ...how, newPath, '-o', join(folder, 'delta')]);
  },
  apply: ({ oldPath }, folder, out) =>
    measureProgram(['zstd', '-q', '-d', '--long=31', `--patch-from=${oldPath}`, join(folder, 'delta'), '-o', out]),
};

const pieces = (projectRoot: string): DeltaSubject => ({
  name: '4 KiB pieces packed, zstd -19',
  needs: ['zstd'],
  version: async () => hash('sha256', await readFile(join(projectRoot, 'test/bench/packed-pieces.ts'))),
  travels: ['index.zst', 'pieces.zst'],
  async make({ oldPath, newPath }, folder) {
    const [packed, indexFile] = [join(folder, 'pieces'), join(folder, 'index')];
    const [begun, begunMs] = [process.cpuUsage(), performance.now()];
    await writeFile(indexFile, packPieces(await readFile(oldPath), await readFile(newPath), packed).index);
    const { user, system } = process.cpuUsage(begun);
    const finding = { wallS: (performance.now() - begunMs) / 1000, cpuS: (user + system) / 1e6 };
    await measureProgram(['zstd', '-q', '-19', '-T1', '--rm', indexFile]);
    const packing = await measureProgram(['zstd', '-q', '-19', '-T1', '--rm', packed]);
    return { ...packing, wallS: finding.wallS + packing.wallS, cpuS: finding.cpuS + packing.cpuS };
  },
  async apply({ oldPath }, folder, out, scratch) {
    const applier = await bundle(projectRoot, 'apply-pieces', scratch);
    const delta = [join(folder, 'index.zst'), join(folder, 'pieces.zst')];
    return measureProgram(nodeOf(applier, oldPath, ...delta, out), { env: AGENT_ENVIRONMENT });
  },
});

const casync: DeltaSubject = {
  name: 'casync, over HTTP',
  needs: ['casync'],
  version: versionOf('casync', '--version'),
  travels: [],
  make: ({ newPath }, folder) =>
    measureProgram(['casync', 'make', `--store=${folder}/new.castr`, join(folder, 'new.caibx'), newPath]),
  apply: ({ oldPath }, folder, out) =>
    overHttp(folder, ({ url }) => {
      const from = [`--store=${url}/new.castr`, `--seed=${oldPath}`, `${url}/new.caibx`];
      return measureProgram(['casync', 'extract', ...from, out]);
    }),
};

const zchunk: DeltaSubject = {
  name: 'zchunk, over HTTP',
  needs: ['zchunk'],
  version: versionOf('zck', '--version'),
  travels: [],
  async make({ oldPath, newPath }, folder) {
    // Only the new one is made for an update; the old one lies packed on the device since the last.
    await mkdir(join(folder, 'device'));
    await measureProgram(['zck', '-o', join(folder, 'device/old.zck'), oldPath]);
    return measureProgram(['zck', '-o', join(folder, 'new.zck'), newPath]);
  },
  apply: (_pair, folder, out, scratch) =>
    overHttp(folder, async ({ url }) => {
      const script = 'zckdl -q -s "$0" "$1" && unzck new.zck';
      const command: Command = ['sh', '-c', script, join(folder, 'device/old.zck'), `${url}/new.zck`];
      const usage = await measureProgram(command, { cwd: scratch });
      await rename(join(scratch, 'new'), out);
      await rm(join(scratch, 'new.zck'));
      return usage;
    }),
};

async function overHttp(folder: string, work: (server: RangeServer) => Promise<Usage>): Promise<Applied> {
  const server = await RangeServer.start(folder);
  try {
    return { ...(await work(server)), fetchedBytes: server.servedBytes };
  } finally {
    await server.close();
  }
}
