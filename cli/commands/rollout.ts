/** `holdfast rollout`: give a release to devices, wave by wave, and follow it to its end. */
import type { Command } from 'commander';
import { EXIT, Fault } from '../../platform/fault.ts';
import {
  ROLLOUT_PURPOSES,
  ROLLOUT_VERBS,
  type RolloutPurpose,
  type RolloutVerb,
  type RolloutView,
} from '../../protocol/operator-api.ts';
import { addCommand, addGroup, collectValues, type Finish, type Outcome, onRun } from '../command.ts';
import { formatDuration, formatMoment, parseDuration } from '../duration.ts';
import type { Output } from '../output.ts';
import { waitFor } from '../patience.ts';
import { withServer } from '../session.ts';
import { formatWave, GATE_DEFAULTS, parsePercentage, parseWaves, parseWholeNumber } from '../waves.ts';

const WATCH_PAUSE_MS = 500;

interface StartOptions {
  readonly waves: string;
  readonly soak: string;
  readonly maxFailed: string;
  readonly minSample: string;
  readonly timeout: string;
  readonly device: readonly string[];
  readonly purpose: string;
}

function sayRollout(out: Output, rollout: RolloutView): void {
  out.table([
    ['rollout', rollout.rolloutId],
    ['release', `${rollout.release.version} (${rollout.release.releasePath})`],
    ['purpose', rollout.purpose],
    ['state', rollout.state],
    ['why', rollout.reason],
    [
      'devices',
      `${rollout.devices}: ${rollout.confirmed} confirmed, ${rollout.failed} failed, ${rollout.neverStarted} never started`,
    ],
    [
      'gate',
      `halts above ${rollout.maxFailedPercent} % failed, once ${rollout.minSample} attempted; a device has ${formatDuration(rollout.actionTimeoutMs)}`,
    ],
    ['started', `${formatMoment(rollout.createdUnixMs)} by ${rollout.createdBy}`],
  ]);
  out.say();
  out.table([
    ['wave', 'size', 'state', 'devices', 'offered', 'attempted', 'confirmed', 'failed'],
    ...rollout.waves.map((wave, index) => [
      String(index + 1),
      formatWave(wave.wave),
      wave.state,
      ...[wave.devices, wave.offered, wave.attempted, wave.confirmed, wave.failed].map(String),
    ]),
  ]);
}

function parsePurpose(text: string): RolloutPurpose {
  const purpose = ROLLOUT_PURPOSES.find((known) => known === text);
  if (purpose !== undefined) return purpose;
  throw new Fault({
    code: 'purpose-unknown',
    what: `'${text}' is not a purpose`,
    where: '--purpose',
    cure: `Give one of: ${ROLLOUT_PURPOSES.join(', ')}.`,
    exitStatus: EXIT.usage,
  });
}

function start(out: Output, releasePath: string, options: StartOptions): Promise<Outcome> {
  const soakMs = parseDuration(options.soak, '--soak');
  const request = {
    releasePath,
    waves: parseWaves(options.waves, soakMs),
    maxFailedPercent: parsePercentage(options.maxFailed, '--max-failed'),
    minSample: parseWholeNumber(options.minSample, '--min-sample', 1, 1_000_000),
    actionTimeoutMs: parseDuration(options.timeout, '--timeout'),
    purpose: parsePurpose(options.purpose),
    ...(options.device.length === 0 ? {} : { deviceIds: [...new Set(options.device)] }),
  };
  if (request.actionTimeoutMs < 1000) {
    throw new Fault({
      code: 'duration-malformed',
      what: 'a device needs at least one second',
      where: '--timeout',
      cure: 'Give a longer time, like 10m.',
      exitStatus: EXIT.usage,
    });
  }
  return withServer(out, async ({ api }) => {
    const rollout = await api.startRollout(request);
    out.say(
      `Started rollout ${rollout.rolloutId}: ${rollout.release.version} for ${rollout.devices} devices in ${rollout.waves.length} waves.`,
    );
    out.next(`holdfast rollout watch ${rollout.rolloutId}`);
    return { document: { rollout } };
  });
}

function list(out: Output): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const { rollouts } = await api.rollouts();
    if (rollouts.length === 0) out.say('No rollout has been started yet.');
    else {
      out.table([
        ['rollout', 'version', 'purpose', 'state', 'confirmed', 'failed', 'devices', 'started'],
        ...rollouts.map((rollout) => [
          rollout.rolloutId,
          rollout.release.version,
          rollout.purpose,
          rollout.state,
          String(rollout.confirmed),
          String(rollout.failed),
          String(rollout.devices),
          formatMoment(rollout.createdUnixMs),
        ]),
      ]);
    }
    return { document: { rollouts } };
  });
}

function show(out: Output, rolloutId: string): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const rollout = await api.rollout(rolloutId);
    sayRollout(out, rollout);
    return { document: { rollout } };
  });
}

const over = (rollout: RolloutView): boolean => ['complete', 'halted', 'cancelled'].includes(rollout.state);

function summaryLine(rollout: RolloutView): string {
  const open = rollout.waves.findLastIndex((wave) => wave.state !== 'waiting') + 1;
  return `${rollout.state}, wave ${Math.max(1, open)} of ${rollout.waves.length}: ${rollout.confirmed} of ${rollout.devices} confirmed, ${rollout.failed} failed`;
}

/** Follows until the rollout is complete, halted or cancelled; a pause is waited through. Exit 0 complete, else 4. */
function watch(out: Output, rolloutId: string): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const line = out.statusLine();
    const rollout = await waitFor({
      ask: () => api.rollout(rolloutId),
      done: over,
      onAnswer: (answer) => line.show(summaryLine(answer)),
      onAway: (fault) => line.show(`the server is away, asking again (${fault.code})`),
      pauseMs: WATCH_PAUSE_MS,
    });
    line.finish();
    sayRollout(out, rollout);
    if (rollout.state === 'halted') {
      out.next(
        'holdfast devices list --reason rolled-back',
        `holdfast rollout resume ${rolloutId}   (after you looked)`,
      );
    }
    return { document: { rollout }, exitStatus: rollout.state === 'complete' ? EXIT.ok : EXIT.refused };
  });
}

function change(out: Output, rolloutId: string, verb: RolloutVerb): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const rollout = await api.changeRollout(rolloutId, verb);
    out.say(`${rollout.rolloutId} is ${rollout.state}: ${rollout.reason}`);
    return { document: { rollout } };
  });
}

const VERB_SUMMARIES: Record<RolloutVerb, string> = {
  pause: 'offer the release to nobody further until it is resumed',
  resume: 'go on after a pause, or after a halt that a person looked into',
  cancel: 'end a rollout; devices that have not armed yet are called off',
};

export function addRolloutCommands(program: Command, finish: Finish): void {
  const group = addGroup(program, 'rollout', 'give a release to devices, wave by wave');
  const startCommand = addCommand(group, {
    usage: 'start RELEASE',
    summary: 'start a rollout of a published release',
    details:
      'Each wave includes the ones before it. A wave opens when enough devices of the one before confirmed their boot.\n' +
      "The rollout halts by itself when too many fail; going on is then a person's decision.",
    examples: ['holdfast rollout start releases/acme-cam/stable/2/release.suit --waves "1,25%,100%" --soak 30s'],
  })
    .requiredOption('--waves <LIST>', 'numbers of devices or percentages, like "1,25%,100%"')
    .option('--soak <DURATION>', 'how long a wave must stand before the next opens', '0s')
    .option(
      '--max-failed <PERCENT>',
      'halt when more than this share of those who attempted it failed',
      GATE_DEFAULTS.maxFailed,
    )
    .option('--min-sample <N>', 'count failures once this many attempted it', GATE_DEFAULTS.minSample)
    .option('--timeout <DURATION>', 'a device that has not confirmed by then counts as failed', '10m')
    .option(
      '--purpose <PURPOSE>',
      'update, repair or security; the last two also go to devices that hold factory secrets',
      'update',
    )
    .option('--device <ID>', 'only this device; give the option once for each', collectValues, []);
  onRun<StartOptions>(startCommand, finish, (out, options, releasePath = '') => start(out, releasePath, options));
  const listCommand = addCommand(group, {
    usage: 'list',
    summary: 'list rollouts, newest first',
    examples: ['holdfast rollout list'],
  });
  onRun(listCommand, finish, (out) => list(out));
  const showCommand = addCommand(group, {
    usage: 'show ROLLOUT',
    summary: 'show a rollout: waves, counts, and why it is where it is',
    examples: ['holdfast rollout show ROLLOUT'],
  });
  onRun(showCommand, finish, (out, _options, rolloutId = '') => show(out, rolloutId));
  const watchCommand = addCommand(group, {
    usage: 'watch ROLLOUT',
    summary: 'follow a rollout to its end (exit 0: complete; 4: halted or cancelled)',
    examples: ['holdfast rollout watch ROLLOUT'],
  });
  onRun(watchCommand, finish, (out, _options, rolloutId = '') => watch(out, rolloutId));
  for (const verb of ROLLOUT_VERBS) {
    const command = addCommand(group, {
      usage: `${verb} ROLLOUT`,
      summary: VERB_SUMMARIES[verb],
      examples: [`holdfast rollout ${verb} ROLLOUT`],
    });
    onRun(command, finish, (out, _options, rolloutId = '') => change(out, rolloutId, verb));
  }
}
