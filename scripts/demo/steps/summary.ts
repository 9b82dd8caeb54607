/** Step 9: what devices and server say at the end, gathered whatever happened before. */
import { join } from 'node:path';
import type { DemoRun } from '../demo-run.ts';
import { secretsInEffect } from '../factory-left.ts';
import { bootedFacts } from '../fleet-words.ts';
import { type CredentialsRow, completeReport, type DemoReport, type DeviceRow, type RolloutRow } from '../report.ts';
import { bold, green, red, renderTable, say } from '../terminal.ts';

async function deviceRow(run: DemoRun, id: string): Promise<DeviceRow> {
  const credentials = await credentialsRow(run, id);
  const gone = { id, version: '', slot: '', state: 'unreachable', credentials };
  try {
    const { status } = await run.words.agent(run.devicePath(id));
    const booted = await bootedFacts(run.devicePath(id));
    if (status === null) return { ...gone, slot: booted?.slot ?? '' };
    return { ...gone, version: status.installed.version, slot: booted?.slot ?? '', state: status.state };
  } catch {
    return gone;
  }
}

async function credentialsRow(run: DemoRun, id: string): Promise<CredentialsRow> {
  try {
    const { credentials } = await run.words.device(id);
    const { left } = await secretsInEffect(run.devicePath(id));
    return { standing: credentials?.standing ?? 'unknown', epoch: credentials?.epoch ?? 0, factoryLeft: left };
  } catch {
    return { standing: 'unknown', epoch: 0, factoryLeft: [] };
  }
}

async function rolloutRows(run: DemoRun): Promise<RolloutRow[]> {
  const rollouts = await run.words.rollouts().catch(() => []);
  return rollouts
    .toSorted((left, right) => left.createdUnixMs - right.createdUnixMs)
    .map(({ release, state, reason, confirmed, failed, neverStarted }) => ({
      release: release.version,
      state,
      reason,
      confirmed,
      failed,
      neverStarted,
    }));
}

/** Devices and server must agree at the end; otherwise somebody lies. */
async function compareWords(run: DemoRun, devices: readonly DeviceRow[]): Promise<void> {
  const server = new Map((await run.words.devices()).map((device) => [device.deviceId, device]));
  const apart = devices.filter(({ id, version, slot }) => {
    const view = server.get(id);
    return view?.installed?.version !== version || view.bootedSlot !== slot;
  });
  const text = 'server and devices say the same of versions and slots';
  run.check(apart.length === 0, apart.length === 0 ? text : `${text}: not of ${apart.map(({ id }) => id).join(', ')}`);
}

export async function gatherReport(run: DemoRun): Promise<DemoReport> {
  const devices = await Promise.all(run.deviceIds.map((id) => deviceRow(run, id)));
  await run.step(9, 'What stands at the end', () => compareWords(run, devices));
  const rollouts = await rolloutRows(run);
  const { refusals, recoveries, steps } = run;
  return completeReport({ devices, rollouts, refusals, recoveries, steps }, run.unbroken && devices.length > 0);
}

export function sayReport(report: DemoReport, path: string): void {
  const { devices, rollouts, refusals, recoveries, steps } = report;
  say();
  say(
    renderTable(
      ['device', 'version', 'slot', 'state', 'credentials', 'of the factory'],
      devices.map(({ id, version, slot, state, credentials: { standing, epoch, factoryLeft } }) => [
        ...[id, version, slot, state],
        `${standing}, epoch ${epoch}`,
        factoryLeft.join(', ') || 'nothing',
      ]),
    ),
  );
  say();
  const rolloutCells = rollouts.map((row) => [
    row.release,
    row.state,
    `${row.confirmed}/${row.failed}/${row.neverStarted}`,
    row.reason,
  ]);
  say(renderTable(['release', 'rollout', 'confirmed/failed/never started', 'why'], rolloutCells));
  say();
  const refusalCells = refusals.map((row) => [
    row.attack,
    row.by,
    row.code === '' ? 'NOT REFUSED' : row.code,
    row.twinAccepted ? 'accepted' : 'REFUSED',
  ]);
  say(renderTable(['attack', 'refused by', 'code', 'its twin'], refusalCells));
  say();
  say(
    renderTable(
      ['trouble', 'overcome', 'seconds'],
      recoveries.map((row) => [row.trouble, row.ok ? 'yes' : 'NO', String(row.seconds)]),
    ),
  );
  say();
  for (const { step, findings } of steps)
    for (const finding of findings) say(`  ${red('NOT OK')}  ${step}: ${finding}`);
  say(bold(report.ok ? green('All went as it must.') : red('Not everything went as it must.')));
  say(`Report: ${path}`);
}

/** Three commands that work as they stand; and, when it all stays up, the page and a token for it. */
export async function sayNext(run: DemoRun): Promise<void> {
  say('\nTry next:');
  if (run.options.keep) {
    const home = `HOLDFAST_HOME=${run.path('operator')}`;
    say(`  ${home} bin/holdfast devices list`);
    say(`  ${home} bin/holdfast devices show ${run.deviceIds[0] ?? ''}`);
    say(`  bin/holdfast-agent status --config ${join(run.devicePath(run.deviceIds[0] ?? ''), 'factory/agent.json')}`);
    const tokenFile = run.path('page.token');
    const made = await run.words
      .holdfast(['tokens', 'create', 'page', '--role', 'viewer', '--out', tokenFile], { quiet: true })
      .catch(() => undefined);
    const signIn = made === undefined ? '' : `, sign in with the token in ${tokenFile}`;
    say(`\nThe page: https://localhost:${run.ports.operator}/${signIn}   (Ctrl-C ends everything)`);
    return;
  }
  say('  npm run demo -- --keep       the same, and it stays up: the page, the commands');
  say('  bin/holdfast --help          every command, with examples');
  say('  less docs/first-hour.md      the same path, typed by hand');
}
