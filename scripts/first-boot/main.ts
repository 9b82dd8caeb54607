/**
 * npm run first-boot -- [--matrix] [--only TEXT] [--json FILE] [--dir FOLDER]   the two gates of the first boot, broken one fault at a time
 *
 * Boots a Debian with the gates in a container for each fault and looks what stands open, from inside and as a stranger at
 * the other end of the wire. Without --matrix the sample that the gate takes; --only: rows with TEXT in their name.
 * Needs root, and what scripts/setup.sh --first-boot installs. Exit status 0 only when each row is as it must be.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { arch, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { reportFailure } from '../../platform/command-line.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { debianRoot } from '../package/check/debian-root.ts';
import { needProgram } from '../programs.ts';
import { FAULTS } from './faults.ts';
import { type JudgedRow, runRow } from './matrix.ts';
import { printedTable } from './table.ts';
import { verifyUnits } from './verify-units.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** What the matrix has of network managers and logins, beside what a minimal Debian has. */
const PACKAGES = [
  ...['systemd-sysv', 'dbus', 'libpam-systemd', 'libstdc++6', 'openssh-server', 'nftables', 'ifupdown'],
  ...['network-manager', 'wpasupplicant', 'iproute2', 'systemd-resolved'],
];

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      matrix: { type: 'boolean', default: false },
      only: { type: 'string' },
      json: { type: 'string' },
      dir: { type: 'string', default: tmpdir() },
    },
  });
  const { only } = values;
  const rows = FAULTS.filter(({ name, sample }) =>
    only === undefined ? sample || values.matrix : name.includes(only),
  );
  if (rows.length === 0) throw noRow(only ?? '');
  await needProgram('sh', [join(ROOT, 'scripts/setup.sh'), '--first-boot'], { onStderr: say });
  const cache = join(ROOT, 'build/first-boot');
  await mkdir(cache, { recursive: true });
  const kept = await debianRoot(cache, arch() === 'arm64' ? 'arm64' : 'amd64', false, PACKAGES.join());
  const complaints = await verifyUnits(kept);
  print(`${complaints.length === 0 ? '  ok ' : 'FAIL '}systemd-analyze verify\n${complaints.join('\n')}`.trimEnd());
  const folder = await mkdtemp(join(values.dir, 'holdfast-first-boot-'));
  const judged: JudgedRow[] = [];
  try {
    for (const row of rows) {
      const done = await runRow(row, { kept, folder });
      judged.push(done);
      print(`${done.ok ? '  ok ' : 'FAIL '}${done.name}  ${done.seconds} s`);
      for (const finding of done.findings) print(`       ${finding}`);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const failed = judged.filter(({ ok }) => !ok).length + (complaints.length > 0 ? 1 : 0);
  print(printedTable(judged));
  if (values.json !== undefined) {
    await writeFile(values.json, `${JSON.stringify({ ok: failed === 0, complaints, rows: judged }, null, 2)}\n`);
  }
  print(`${judged.length + 1 - failed} passed, ${failed} failed`);
  return failed === 0 ? EXIT.ok : EXIT.bug;
}

function noRow(text: string): Fault {
  return new Fault({
    code: 'usage',
    what: 'no row of the matrix has that in its name',
    where: `--only ${text}`,
    cure: `Choose among: ${FAULTS.map(({ name }) => name).join(' · ')}`,
    exitStatus: EXIT.usage,
  });
}

function say(text: string): void {
  process.stderr.write(`  ${text.trim()}\n`);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

try {
  process.exitCode = await main();
} catch (error) {
  process.exitCode = reportFailure('first-boot', error, { json: false, debug: process.env.DEBUG !== undefined });
}
