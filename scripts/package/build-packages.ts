/** The four packages, or some of them, from this checkout: bundle, licences, bill of materials, Node, .deb. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import packageJson from '../../package.json' with { type: 'json' };
import { BUNDLES, buildBundle, DEVICE_PROGRAMS, type DeviceProgram } from '../build.ts';
import { needProgram, runProgram } from '../programs.ts';
import { type BundledPackage, bundledPackages, bytesByPackage, Metafile } from './bundled-packages.ts';
import { decodeEpoch, type PackageFacts, packageOf, type Variant } from './contents.ts';
import { type BuiltDeb, buildDeb } from './deb.ts';
import { type Architecture, nodeRuntime } from './node-runtime.ts';

export interface Wanted {
  readonly variant: Variant;
  readonly architecture: Architecture;
}

export interface BuiltPackage extends Wanted, BuiltDeb {}

export type Materials = Omit<PackageFacts, 'variant' | 'architecture' | 'runtime'>;

/** Builds the agent's three bundles, and reads what every package of them has. */
export async function gather(root: string, maintainer: string, epochText: string | undefined): Promise<Materials> {
  const bundles = new Map<DeviceProgram, Bundle>();
  for (const name of DEVICE_PROGRAMS) bundles.set(name, await bundleOf(root, name));
  const all = [...bundles.values()];
  const usage = (await needProgram(process.execPath, [join(root, BUNDLES.agent.outfile), '--help'])).stdout;
  return {
    version: packageJson.version,
    maintainer,
    programs: [...bundles].map(([name, { bytes }]) => ({ name, bytes })),
    usage,
    ownBytes: all.reduce((sum, { ownBytes }) => sum + ownBytes, 0),
    packages: all.map(({ packages }) => packages).reduce(inBoth),
    sourceDateEpoch: decodeEpoch(epochText ?? (await dateOfCommit(root))),
  };
}

interface Bundle {
  readonly bytes: Uint8Array;
  readonly ownBytes: number;
  readonly packages: readonly BundledPackage[];
}

async function bundleOf(root: string, name: DeviceProgram): Promise<Bundle> {
  await buildBundle(name);
  const output = BUNDLES[name].outfile;
  const metafile = v.parse(Metafile, JSON.parse(await readFile(join(root, `build/${name}.meta.json`), 'utf8')));
  return {
    bytes: await readFile(join(root, output)),
    ownBytes: bytesByPackage(metafile, output).get('') ?? 0,
    packages: await bundledPackages(root, metafile, output),
  };
}

/** A package that both carry is one, with the bytes of both. */
function inBoth(one: readonly BundledPackage[], other: readonly BundledPackage[]): BundledPackage[] {
  const bytesIn = (list: readonly BundledPackage[], folder: string): number =>
    list.find((each) => each.folder === folder)?.bytesInBundle ?? 0;
  const all = [...one, ...other.filter(({ folder }) => !one.some((each) => each.folder === folder))];
  return all
    .map((each) => ({ ...each, bytesInBundle: bytesIn(one, each.folder) + bytesIn(other, each.folder) }))
    .sort((x, y) => (x.folder < y.folder ? -1 : 1));
}

/** Archives of the sources without their history are dated 1980, as zip files are. */
async function dateOfCommit(root: string): Promise<string> {
  const git = await runProgram('git', ['log', '-1', '--format=%ct'], { cwd: root }).catch(() => undefined);
  return git?.status === 0 && git.stdout.trim() !== '' ? git.stdout.trim() : '315532800';
}

export async function buildPackage(
  root: string,
  materials: Materials,
  { variant, architecture }: Wanted,
  folder: string,
): Promise<BuiltPackage> {
  const withNode = variant === 'holdfast-agent-node';
  const runtime = withNode ? await nodeRuntime(root, join(root, 'build/node'), architecture) : undefined;
  const facts = await packageOf(root, { ...materials, variant, architecture, runtime });
  const built = await buildDeb(facts, join(folder, `${variant}_${materials.version}_${architecture}.deb`));
  return { variant, architecture, ...built };
}
