/**
 * What an adoption would find and make on this machine. Looks only: not even a folder is made.
 */
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Disk } from '../../platform/disk.ts';
import { type AgentConfig, configOf, readConfigText } from '../config.ts';
import { advice, type DoctorRow, examine, missing, ok } from '../doctor/finding.ts';
import { checkIdentity, checkNode } from '../doctor/machine-checks.ts';
import { bootstrapServer } from '../transport/known-servers.ts';
import { readFactoryRoot } from '../trusted-root.ts';
import { type Adoption, FORMAT, UNIT } from './adoption.ts';

export interface Places {
  /** agent.json, as the unit names it. */
  readonly config: string;
  /** Where an administrator's units and drop-ins lie. */
  readonly units: string;
  /** Kernel, firmware and boot tools leave their traces here; `/`, but in tests. */
  readonly root: string;
}

export interface Survey {
  readonly rows: readonly DoctorRow[];
  /** Undefined when there is no configuration to adopt with. */
  readonly plan: Omit<Adoption, 'unit'> | undefined;
}

const TRACES = [
  ['tryboot', 'proc/device-tree/chosen/bootloader/partition'],
  ['u-boot', 'etc/fw_env.config'],
] as const;

/** Places that the unit lets the agent write without being told (agent/systemd/holdfast-agent.service). */
const WRITABLE = ['/var/lib/holdfast', '/boot', '/dev'];

export async function survey(places: Places, disk: Disk, answers: string | undefined): Promise<Survey> {
  const rows = [checkNode(process.versions.node)];
  const look = async (check: string, rowOf: () => Promise<DoctorRow>): Promise<void> => {
    rows.push(...(await examine(check, async () => [await rowOf()])));
  };
  const found: { config: AgentConfig; text: string }[] = [];
  await look('config', async () => {
    found.push(await configuration(places.config, disk, answers));
    return ok('config', places.config);
  });
  const [first] = found;
  if (first === undefined) return { rows, plan: undefined };
  const { config, text } = first;
  await look('factory-root', async () => ok('factory-root', `until ${(await readFactoryRoot(disk, config)).expires}`));
  rows.push(...(await examine('identity', () => checkIdentity(config, disk))));
  await look('claim-file', () => secretRow('claim-file', config.claimFile));
  await look('anchors', async () => ok('anchors', `for ${(await bootstrapServer(disk, config)).url}`));
  await look('data', () => dataRow(config));
  rows.push(boardRow(places.root, config.board.kind));
  const folder = join(places.units, `${UNIT}.d`);
  const told = dropIn(config);
  const fresh = ({ path }: { path: string }): boolean => !existsSync(path);
  return {
    rows,
    plan: {
      format: FORMAT,
      directories: [
        { path: config.dataDirectory, mode: 0o700 },
        ...(told === '' ? [] : [{ path: folder, mode: 0o755 }]),
      ].filter(fresh),
      files: [
        { path: config.path, text },
        ...(told === '' ? [] : [{ path: join(folder, 'adopt.conf'), text: told }]),
      ].filter(fresh),
    },
  };
}

/** agent.json where it stands; else made of the answers: its fields, those of a packaged device filled in. */
async function configuration(path: string, disk: Disk, answers: string | undefined) {
  if (answers === undefined || existsSync(path)) {
    const text = await readConfigText(disk, path);
    return { text, config: configOf(text, path) };
  }
  const given = JSON.parse(await readConfigText(disk, answers));
  const fields = {
    format: 'holdfast-agent-1',
    board: { kind: 'none' },
    dataDirectory: '/var/lib/holdfast',
    factoryRoot: 'root.json',
    factoryInstalled: { sequence: 0, version: '0' },
    claimFile: 'claim.json',
    ...given,
    server: { mqttUrl: null, anchorsFile: 'server-ca.pem', ...given?.server },
  };
  const text = `${JSON.stringify(fields, undefined, 2)}\n`;
  return { text, config: configOf(text, path) };
}

/** Others may not read it. */
async function secretRow(check: string, path: string): Promise<DoctorRow> {
  if (((await stat(path)).mode & 0o77) === 0) return ok(check, path);
  return missing(check, `others may read ${path}`, `chmod go= ${path}`);
}

async function dataRow({ board, dataDirectory }: AgentConfig): Promise<DoctorRow> {
  let above = dataDirectory;
  while (!existsSync(above)) above = dirname(above);
  if ((await stat(above)).dev === (await stat('/')).dev) {
    const row = 'slots' in board ? missing : advice;
    return row('data', `${dataDirectory} is on the root file system`, 'Give it a partition: a slot loses it.');
  }
  return above === dataDirectory ? secretRow('data', above) : ok('data', dataDirectory);
}

/** What looks like a board here, against what the configuration says. */
function boardRow(root: string, configured: string): DoctorRow {
  const [guess] = TRACES.find(([, path]) => existsSync(join(root, path))) ?? ['none'];
  if (configured === guess) return ok('board', guess);
  return advice('board', `${configured}; it looks like ${guess}`, 'Ask holdfast-agent doctor before an update.');
}

/** What the unit must be told of places outside its own; empty when it need not. */
function dropIn({ board, dataDirectory }: AgentConfig): string {
  const paths = [dataDirectory];
  if ('goodSlotFile' in board) paths.push(dirname(board.goodSlotFile));
  if ('autobootFile' in board) paths.push(board.autobootFile);
  if ('directory' in board) paths.push(board.directory);
  if ('slots' in board) for (const slot of Object.values(board.slots)) paths.push(...Object.values(slot));
  const others = paths.filter((path) => !WRITABLE.some((place) => `${path}/`.startsWith(`${place}/`)));
  if (others.length === 0) return '';
  // systemd.unit(5): % begins a specifier; a leading - takes a place that is not there yet.
  const quoted = (path: string): string => JSON.stringify(path.replaceAll('%', '%%'));
  const lines = others.map((path) => `ReadWritePaths=${quoted(`-${path}`)}\n`);
  return `[Unit]\nRequiresMountsFor=${quoted(dataDirectory)}\n[Service]\n${lines.join('')}`;
}
