/**
 * `npm run bench -- rotate`: new secrets for a whole fleet, by protocol clients in this process against the shipped server
 * and command line. docs/BENCHMARKS.md says what such a client is and is not.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EXIT, Fault } from '../../platform/fault.ts';
import { type BenchReport, type Findings, type Ratio, type Row, ratioOf, rowOf } from './measure.ts';
import { type RotationFigures, type RotationSettings, runRotation } from './rotation/run.ts';

/** The essay that asked for this names 1 to 6 hours for ten thousand devices. */
const AIM_HOURS = 1;
const LAST = 'rotated, all that are online';

export const ROTATE_OPTIONS = {
  devices: { type: 'string', default: '10000' },
  offline: { type: 'string', default: '5' },
  cuts: { type: 'string', default: '1' },
  'poll-ms': { type: 'string', default: '300000' },
  'reboot-ms': { type: 'string', default: '30000' },
  waves: { type: 'string', default: '1%,100%' },
  soak: { type: 'string', default: '1m' },
  timeout: { type: 'string', default: '7m' },
  compare: { type: 'string' },
} as const;

type Values = { readonly [Name in Exclude<keyof typeof ROTATE_OPTIONS, 'compare'>]: string } & {
  readonly compare?: string | undefined;
};

export async function benchRotation(
  projectRoot: string,
  values: Values,
  progress: (line: string) => void,
): Promise<Findings> {
  // Read first: a name that is wrong is said now and not in an hour.
  const other = values.compare === undefined ? undefined : await readReport(values.compare);
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-rotate-'));
  try {
    const figures = await runRotation({ ...settingsOf(projectRoot, values), directory, progress });
    return findingsOf(figures, other);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** What the table is to be read with. */
export function rotationFacts(values: Values): Record<string, string> {
  return {
    'waves:': `${values.waves} (soak ${values.soak}, timeout ${values.timeout})`,
    'polls every': `${Number(values['poll-ms']) / 1000} s`,
    'a reboot of': `${Number(values['reboot-ms']) / 1000} s (± a quarter)`,
    away: `${values.offline} %`,
    'power cut in the middle:': `${values.cuts} %`,
  };
}

function settingsOf(projectRoot: string, values: Values): Omit<RotationSettings, 'directory' | 'progress'> {
  const pollMs = numberIn(values, 'poll-ms', 200, 3_600_000);
  return {
    projectRoot,
    devices: numberIn(values, 'devices', 10, 100_000),
    pollMs,
    rebootMs: numberIn(values, 'reboot-ms', 0, 3_600_000),
    offline: numberIn(values, 'offline', 0, 50) / 100,
    cuts: numberIn(values, 'cuts', 0, 50) / 100,
    waves: values.waves,
    soak: values.soak,
    timeout: values.timeout,
    statusMs: Math.min(30_000, pollMs),
    fetches: 3,
  };
}

function numberIn(values: Values, name: keyof Values, least: number, most: number): number {
  const value = Number(values[name]);
  if (value >= least && value <= most) return value;
  throw new Fault({
    code: 'number-malformed',
    what: `'${values[name]}' is no number from ${least} to ${most}`,
    where: `--${name}`,
    cure: 'npm run bench -- rotate [--devices N] [--offline %] [--cuts %] [--poll-ms N] [--reboot-ms N]',
    exitStatus: EXIT.usage,
  });
}

async function readReport(path: string): Promise<BenchReport> {
  return JSON.parse(await readFile(path, 'utf8'));
}

/** `other`: what a run of another size wrote; it stands beside this one, with its aims. */
export function findingsOf(figures: RotationFigures, other: BenchReport | undefined): Findings {
  const rows = rowsOf(figures);
  const subject = subjectOf(figures);
  const aim = (name: string, value: number, atMost: number): Ratio => ratioOf(`${subject}: ${name}`, value, atMost);
  const ratios = [
    aim('hours until all that are online have rotated', atShare(figures.rotatedS, 1) / 3600, AIM_HOURS),
    aim('locked out: their owner reads no secret that is in effect', figures.lockedOut, 0),
    aim('take a former secret', figures.formerAccepted, 0),
    aim('updates offered to one that owed a rotation', figures.offeredBefore, 0),
    aim('were away and got no update afterwards', figures.away - figures.offeredAfter, 0),
    aim('have not proven it at the end', figures.devices - figures.proven + figures.factory, 0),
  ];
  if (other === undefined) return { rows, ratios };
  return {
    rows: [...rows, ...other.rows],
    ratios: [...ratios, ...other.ratios, ...comparison(rows, other)],
  };
}

function comparison(rows: readonly Row[], other: BenchReport): Ratio[] {
  const [here, there] = [rows, other.rows].map((all) => all.find(({ name }) => name === LAST));
  if (here === undefined || there === undefined) return [];
  const name = `${LAST}: ${here.subject} / ${there.subject}`;
  return [{ name, value: here.median / there.median, aim: 'for the scaling', met: true }];
}

function subjectOf({ devices }: RotationFigures): string {
  return `${devices.toLocaleString('en-US')} devices`;
}

function rowsOf(figures: RotationFigures): Row[] {
  const subject = subjectOf(figures);
  const row = (name: string, values: readonly number[], unit: string): Row => rowOf(name, subject, values, unit);
  const { rotatedS, requests, serverCpuS } = figures;
  const allS = atShare(rotatedS, 1);
  return [
    row('rotated, 50 % of those that are online', [atShare(rotatedS, 0.5)], 's'),
    row('rotated, 95 % of those that are online', [atShare(rotatedS, 0.95)], 's'),
    row(LAST, [allS], 's'),
    row('rotated, from its return, a device that was away', figures.returnedS, 's'),
    row('no blob at the server of the secret in effect', figures.gapS, 's'),
    row('devices that lost power in the middle, and went on', [figures.cuts], ''),
    row('blobs opened with an owner’s key', [figures.opened], ''),
    row('blobs fetched by request, approval and fetch', [figures.fetched], ''),
    row('devices offered the update once they had rotated', [figures.offeredAfter], `of ${figures.away}`),
    row('audit entries, chain verified', [figures.auditEntries], ''),
    row('requests', [requests], ''),
    row('requests a second', [requests / allS], '1/s'),
    row('exchanges without an answer, tried again', [[...figures.failures.values()].reduce((a, b) => a + b, 0)], ''),
    row('a poll, with its connection', figures.pollMs, 'ms'),
    row('longest wait of a client for its turn in this process', [figures.longestTurnS], 's'),
    row('holdfast credentials status ROTATION', figures.statusS, 's'),
    row('processor time of the server', [serverCpuS], 's'),
    row('processor time of the server, share of one core', [(serverCpuS * 100) / allS], '%'),
    row('processor time of the clients', [figures.clientsCpuS], 's'),
    row('server memory, the most', [figures.serverPeakMb], 'MB'),
    row('before: all enrolled, own secrets stated', [figures.bringUpS], 's'),
    row('before: processor time of the server, a device', [(figures.bringUpServerCpuS * 1000) / figures.devices], 'ms'),
  ];
}

/** Of ascending values, the one below which this share lies. */
function atShare(values: readonly number[], share: number): number {
  return values[Math.max(0, Math.ceil(values.length * share) - 1)] ?? Number.NaN;
}
