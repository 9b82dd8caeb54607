/** `holdfast replay`: what a device decided, step by step, run through the very tables that decide on it. For support. */
import { stat } from 'node:fs/promises';
import type { Command } from 'commander';
import { EXIT } from '../../platform/fault.ts';
import { addCommand, type Finish, type Outcome, onRun } from '../command.ts';
import { formatMoment } from '../duration.ts';
import type { Output } from '../output.ts';
import { replay, type Step } from '../replay/decisions.ts';
import { readDecisions, type Standing } from '../replay/journal-file.ts';
import { replayReported } from '../replay/reported.ts';
import { withServer } from '../session.ts';

async function run(out: Output, subject: string): Promise<Outcome> {
  return (await isPath(subject)) ? replayFiles(out, subject) : replayDevice(out, subject);
}

async function isPath(subject: string): Promise<boolean> {
  if (subject.includes('/')) return true;
  return stat(subject).then(
    () => true,
    () => false,
  );
}

async function replayFiles(out: Output, path: string): Promise<Outcome> {
  const { entries, unread, standing } = await readDecisions(path);
  const steps = replay(entries);
  saySteps(out, steps);
  if (unread > 0)
    out.say(`${unread} line${unread === 1 ? '' : 's'} could not be read; a power cut tears the last one.`);
  if (standing !== undefined) sayStanding(out, standing);
  return verdict(out, steps, { source: 'files', path, unread, standing: standing ?? null });
}

function replayDevice(out: Output, deviceId: string): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const { history } = await api.device(deviceId);
    const steps = replayReported(history);
    saySteps(out, steps);
    out.say('From reports, which carry states and outcomes: causes are what the tables allow between them.');
    return verdict(out, steps, { source: 'reports', deviceId });
  });
}

function saySteps(out: Output, steps: readonly Step[]): void {
  if (steps.length === 0) {
    out.say('No step yet: the device has decided nothing that was heard of.');
    return;
  }
  out.table([
    ['when', 'from', 'cause', 'to', 'owed from there'],
    ...steps.map((step) => [
      step.atUnixMs === null ? '(no clock)' : formatMoment(step.atUnixMs),
      step.before,
      step.cause,
      step.state,
      step.effects.join(', '),
    ]),
  ]);
  const told = steps.filter(({ why, disagreement }) => why !== '' || disagreement !== '');
  if (told.length > 0) out.say();
  for (const { before, state, why, disagreement } of told) {
    if (why !== '') out.say(`${before} → ${state}: ${why}`);
    if (disagreement !== '') out.say(`${before} → ${state}: DISAGREES: ${disagreement}`);
  }
}

function sayStanding(out: Output, { state, owed, action, trouble }: Standing): void {
  out.say();
  out.table([
    ['it stands in', state],
    ['still owed', owed.length === 0 ? 'nothing' : owed.join(', ')],
    ['works on', action === null ? 'nothing' : `${action.version}, action ${action.actionId}`],
    ...(trouble === null ? [] : [['trouble', `${trouble.code}: ${trouble.detail}`]]),
  ]);
}

function verdict(out: Output, steps: readonly Step[], facts: Record<string, unknown>): Outcome {
  const disagreements = steps.filter(({ disagreement }) => disagreement !== '').length;
  out.say();
  out.say(
    disagreements === 0
      ? `${steps.length} steps, each as the tables say.`
      : `${steps.length} steps, ${disagreements} not as these tables say: lines are missing, or the device runs another version.`,
  );
  return { document: { ...facts, steps, disagreements }, exitStatus: disagreements === 0 ? EXIT.ok : EXIT.refused };
}

export function addReplayCommand(program: Command, finish: Finish): void {
  const command = addCommand(program, {
    usage: 'replay DEVICE|DIR',
    summary: 'show each decision of a device, and check it against the tables that decide',
    details:
      "DIR is the agent's data directory, a copy of it, or its history file: the device's own words. DEVICE is an id: what the server heard. Exit 4 when a step does not follow.",
    examples: ['holdfast replay cam-0001', 'holdfast replay ./cam-0001-data'],
  });
  onRun(command, finish, (out, _options, subject = '') => run(out, subject));
}
