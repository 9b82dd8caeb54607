/**
 * npm run package [-- --only NAME] [--output DIR] [--maintainer 'NAME <ADDRESS>'] [--json FILE]   the Debian packages of the agent
 * npm run package -- --check [--json FILE]                           the same, tried in real Debian roots
 *
 * --only: part of a name, such as `amd64` or `agent-node_`. SOURCE_DATE_EPOCH dates what is built; without it the last commit does.
 * The same commit gives the same bytes, whenever it is built. Exit status 0 only when everything was built, and held.
 */
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { delimiter, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { reportFailure } from '../../platform/command-line.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { type BuiltPackage, buildPackage, gather, type Wanted } from './build-packages.ts';
import { checkPackages } from './check/campaign.ts';
import { VARIANTS } from './contents.ts';
import { ARCHITECTURES } from './node-runtime.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: '' },
      output: { type: 'string', default: join(ROOT, 'dist/packages') },
      maintainer: { type: 'string', default: 'The Holdfast developers <holdfast@localhost>' },
      check: { type: 'boolean', default: false },
      json: { type: 'string' },
    },
  });
  needDpkg();
  const all = VARIANTS.flatMap((variant) => ARCHITECTURES.map((architecture): Wanted => ({ variant, architecture })));
  const wanted = all.filter(({ variant, architecture }) => `${variant}_${architecture}`.includes(values.only));
  if (wanted.length === 0) throw unknown(values.only, all);
  const materials = await gather(ROOT, values.maintainer, process.env.SOURCE_DATE_EPOCH);
  const built: BuiltPackage[] = [];
  for (const one of wanted) {
    process.stderr.write(`  building ${one.variant} for ${one.architecture} …\n`);
    built.push(await buildPackage(ROOT, materials, one, resolve(values.output)));
  }
  for (const { path, sizeBytes, sha256 } of built)
    print(`${relative(process.cwd(), path)}  ${(sizeBytes / 1024 / 1024).toFixed(2)} MB  sha256 ${sha256}`);
  const suites = values.check ? await checkPackages(ROOT, built, (line) => process.stderr.write(`  ${line}\n`)) : [];
  for (const { name, passed, failed, skipped, why } of suites)
    print(
      `${failed === 0 ? '  ok ' : 'FAIL '}${name}  ${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}${why === '' ? '' : `\n       ${why}`}`,
    );
  const ok = suites.every(({ failed }) => failed === 0);
  if (values.json !== undefined) {
    const { sourceDateEpoch } = materials;
    const packages = built.map((one) => ({ ...one, path: resolve(one.path) }));
    await writeFile(values.json, `${JSON.stringify({ ok, sourceDateEpoch, packages, suites }, null, 2)}\n`);
  }
  const first = built[0]?.path ?? '';
  print(
    `next: ${values.check ? `sudo apt install ${first}, then holdfast-agent adopt` : 'npm run package -- --check'}`,
  );
  return ok ? EXIT.ok : EXIT.bug;
}

function needDpkg(): void {
  if ((process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, 'dpkg-deb')))) return;
  throw new Fault({
    code: 'program-missing',
    what: 'the program dpkg-deb is not installed',
    cure: 'Install the package dpkg of this system, or build on a Debian: sudo apt-get install dpkg.',
    exitStatus: EXIT.environment,
  });
}

function unknown(only: string, all: readonly Wanted[]): Fault {
  return new Fault({
    code: 'usage',
    what: 'no package has that in its name',
    where: `--only ${only}`,
    cure: `Choose among ${all.map(({ variant, architecture }) => `${variant}_${architecture}`).join(', ')}.`,
    exitStatus: EXIT.usage,
  });
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

try {
  process.exitCode = await main();
} catch (error) {
  process.exitCode = reportFailure('package', error, { json: false, debug: false });
}
