/**
 * npm run lint-stock [-- --root NAME] [--json FILE]   holdfast image lint on three stock root file systems; needs root
 *
 * Makes real Debian roots (kept in build/stock-roots), as folder, ext4, squashfs and erofs, and demands of each: no false error.
 * What a stock root really has wrong is named in roots.ts, proven by another program, then cured as the finding says; the
 * cured root must have no error at all. Exit status 0 only when all of this held. Takes about ten minutes the first time.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { reportFailure } from '../../platform/command-line.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { endPrograms } from '../programs.ts';
import { checkRoot } from './check.ts';
import { makeStockRoot, STOCK_ROOTS } from './roots.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { root: { type: 'string', default: '' }, json: { type: 'string' } } });
  const wanted = STOCK_ROOTS.filter(({ name }) => name.includes(values.root));
  if (wanted.length === 0) throw unknownRoot(values.root);
  if (process.getuid?.() !== 0) throw notRoot();
  const suites = [];
  for (const root of wanted) {
    say(`${root.name}: ${root.about}`);
    const place = await makeStockRoot(root, join(ROOT, 'build/stock-roots'));
    suites.push(await checkRoot(root, place, join(ROOT, 'build/stock-roots/images'), say));
  }
  for (const { name, passed, failed, why } of suites) {
    process.stdout.write(`${failed === 0 ? '  ok ' : 'FAIL '}${name}  ${passed} passed, ${failed} failed\n`);
    if (why !== '') process.stdout.write(`       ${why}\n`);
  }
  const ok = suites.every(({ failed }) => failed === 0);
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify({ ok, suites }, null, 2)}\n`);
  return ok ? EXIT.ok : EXIT.bug;
}

const say = (line: string): void => void process.stderr.write(`  ${line}\n`);

function unknownRoot(name: string): Fault {
  return new Fault({
    code: 'usage',
    what: `no stock root is called ${name}`,
    cure: `There are ${STOCK_ROOTS.map((root) => root.name).join(', ')}.`,
    exitStatus: EXIT.usage,
  });
}

function notRoot(): Fault {
  return new Fault({
    code: 'root-needed',
    what: 'debootstrap needs root to configure what it unpacks',
    cure: 'Run it as root, or in a virtual machine.',
    exitStatus: EXIT.environment,
  });
}

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void endPrograms().then(() => process.exit(1)));
try {
  process.exitCode = await main();
} catch (error) {
  process.exitCode = reportFailure('lint-stock', error, { json: false, debug: process.argv.includes('--debug') });
}
