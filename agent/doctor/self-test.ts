/**
 * Takes the board through retire, arm and disarm, writes no image, and keeps a report of it: the evidence that an adapter
 * works on a given machine. Ends with no trial owed and the inactive slot out of the order, until the next update.
 *
 * May not: run beside an agent, or while an update is under way: a cut between arm and disarm boots the inactive slot, so
 * it must not be one that is half written.
 */
import { release } from 'node:os';
import { join } from 'node:path';
import type { Disk } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import { EXIT, errorText, Fault } from '../../platform/fault.ts';
import { other, readText } from '../boards/machine.ts';
import { UBootBoard } from '../boards/u-boot.ts';
import type { AgentConfig } from '../config.ts';
import type { Board, BootFlags } from '../core/ports.ts';
import { journalRecord } from '../storage/journal.ts';
import { AGENT_VERSION } from '../version.ts';
import { type DoctorRow, missing, ok } from './finding.ts';

interface Step {
  readonly step: string;
  readonly ok: boolean;
  readonly detail: string;
  readonly flags: BootFlags | null;
  readonly tookMs: number;
}

/** The rows to show, the last of which names the report. Throws a Fault when this is not the moment. */
export async function selfTest(
  config: AgentConfig,
  board: Board,
  disk: Disk,
  checks: readonly DoctorRow[],
): Promise<DoctorRow[]> {
  await refuseWhenBusy(config, board, disk);
  const booted = await board.bootFacts();
  const steps = await runSteps(board, other(booted.slot));
  const report = {
    format: 'holdfast-self-test-1',
    board: board.kind,
    hardwareClass: config.hardwareClass,
    model: await readText(disk, '/proc/device-tree/model').catch(() => ''),
    kernel: release(),
    agentVersion: AGENT_VERSION,
    node: process.versions.node,
    booted,
    steps,
    checks,
  };
  const path = join(config.dataDirectory, 'self-test.json');
  await writeDurably(disk, path, new TextEncoder().encode(`${JSON.stringify(report, undefined, 2)}\n`));
  const failed = steps.find((step) => !step.ok);
  if (failed === undefined) return [ok('self-test', `${steps.length} steps; report: ${path}`)];
  return [
    missing(
      'self-test',
      `${failed.step}: ${failed.detail}; report: ${path}`,
      'Cure what the step says, and run it again.',
    ),
  ];
}

async function runSteps(board: Board, slot: 'a' | 'b'): Promise<Step[]> {
  const armed = { slot, attemptsLeft: board.trialAttempts };
  const out = (flags: BootFlags): boolean => !flags.order.includes(slot) && flags.trial === null;
  const plan: [string, () => Promise<void>, (flags: BootFlags) => boolean][] = [
    ['retire', () => board.retireSlot(slot), out],
    ['arm', () => board.armTrial(slot), ({ trial }) => JSON.stringify(trial) === JSON.stringify(armed)],
    ['disarm', () => board.disarmTrial(), out],
    ['disarm again', () => board.disarmTrial(), out],
  ];
  if (board instanceof UBootBoard && (await board.canaries()).here === '') {
    plan.unshift(['set the canary; reboot, then run this again', () => board.setCanary(), () => true]);
  }
  const steps: Step[] = [];
  for (const [step, work, holds] of plan) {
    const done = await runStep(board, step, work, holds);
    steps.push(done);
    // Whatever failed: nothing stays armed.
    if (!done.ok) await board.disarmTrial().catch(() => {});
    if (!done.ok) break;
  }
  return steps;
}

async function runStep(
  board: Board,
  step: string,
  work: () => Promise<void>,
  holds: (flags: BootFlags) => boolean,
): Promise<Step> {
  const startedMs = performance.now();
  const tookMs = (): number => Math.round(performance.now() - startedMs);
  try {
    await work();
    const flags = await board.bootFlags();
    const right = holds(flags);
    return { step, ok: right, detail: right ? '' : 'the flags do not say that it was done', flags, tookMs: tookMs() };
  } catch (error) {
    return { step, ok: false, detail: errorText(error), flags: null, tookMs: tookMs() };
  }
}

async function refuseWhenBusy({ dataDirectory }: AgentConfig, board: Board, disk: Disk): Promise<void> {
  const journal = await journalRecord(disk, dataDirectory).read();
  const state = journal.found === 'whole' ? journal.value.state : 'idle';
  const { trial } = await board.bootFlags();
  if (board.kind !== 'none' && trial === null && (state === 'idle' || state === 'held')) return;
  throw new Fault({
    code: 'self-test-not-now',
    what:
      board.kind === 'none'
        ? 'this board has no slots to test'
        : `an update is under way (${trial === null ? state : `trial of ${trial.slot}`})`,
    cure: 'Let the agent finish first: holdfast-agent status.',
    exitStatus: EXIT.refused,
  });
}
