/** `holdfast credentials`: what devices hold, how a rotation goes, which certificates end soon. Never a secret. */
import type { Command } from 'commander';
import { EXIT, Fault } from '../../platform/fault.ts';
import {
  type DeviceCredentials,
  type DeviceView,
  ROLLOUT_VERBS,
  type RolloutVerb,
  type RotationDetail,
  type RotationRequest,
  STANDINGS,
} from '../../protocol/operator-api.ts';
import { addCommand, addGroup, type Finish, type Outcome, onRun } from '../command.ts';
import { formatDuration, formatMoment, parseDuration } from '../duration.ts';
import type { Output } from '../output.ts';
import { withServer } from '../session.ts';
import { formatWave, GATE_DEFAULTS, parsePercentage, parseWaves, parseWholeNumber, USUAL_WAVES } from '../waves.ts';

const DAY_MS = 24 * 3600 * 1000;

const isRed = ({ credentials }: DeviceView): boolean => credentials !== null && credentials !== 'proven';
const redRows = (devices: readonly DeviceView[]): ReadonlySet<number> =>
  new Set(devices.flatMap((device, index) => (isRed(device) ? [index + 1] : [])));

function list(out: Output, deviceId: string): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    if (deviceId !== '') {
      const { credentials } = await api.device(deviceId);
      if (credentials === null) out.say(`${deviceId} is not enrolled: nothing is known of its credentials.`);
      else sayCredentials(out, deviceId, credentials);
      return { document: { deviceId, credentials } };
    }
    const devices = (await api.devices()).devices.filter(({ enrolment }) => enrolment === 'enrolled');
    const rows = devices.map((device) => [
      device.deviceId,
      device.hardwareClass,
      device.credentials ?? '-',
      device.certificateEndsUnixMs === null ? '-' : formatMoment(device.certificateEndsUnixMs),
    ]);
    out.table([['device', 'class', 'credentials', 'certificate ends'], ...rows], redRows(devices));
    return { document: { devices } };
  });
}

function sayCredentials(out: Output, deviceId: string, credentials: DeviceCredentials): void {
  const { statedUnixMs, flags, escrow, waitingKeys, inventory } = credentials;
  out.table([
    ['device', deviceId],
    ['credentials', credentials.standing],
    ['epoch, state', `${credentials.epoch}, ${credentials.state ?? 'nothing stated yet'}`],
    ['stated', statedUnixMs === null ? 'never' : formatMoment(statedUnixMs)],
    ['board', credentials.hardwareId ?? 'not known'],
    ['escrow', escrow === null ? 'none' : `epoch ${escrow.epoch}, for ${escrow.owners.length} owners`],
    ...waitingKeys.map(({ keySha256 }) => ['waits for approval', `key ${keySha256.slice(0, 12)}`]),
    ...flags.map(({ code, detail }) => ['against it', `${code}: ${detail}`]),
  ]);
  if (inventory.length === 0) return;
  out.say();
  out.table([
    ['credential', 'kind', 'state', 'epoch', 'made', 'fingerprint'],
    ...inventory.map((entry) => [
      entry.name,
      entry.kind,
      entry.state,
      String(entry.epoch),
      entry.madeUnixMs === null ? '-' : formatMoment(entry.madeUnixMs),
      entry.fingerprint?.slice(0, 16) ?? '-',
    ]),
  ]);
}

interface RotateOptions {
  readonly group?: string;
  readonly all?: boolean;
  readonly waves?: string;
  readonly soak: string;
  readonly maxFailed: string;
  readonly minSample: string;
  readonly timeout: string;
  readonly why: string;
}

function whoOf(deviceId: string, options: RotateOptions): Pick<RotationRequest, 'deviceIds' | 'hardwareClass'> {
  const named = [deviceId !== '', options.group !== undefined, options.all === true].filter(Boolean).length;
  if (named === 1) {
    if (deviceId !== '') return { deviceIds: [deviceId] };
    return options.group === undefined ? {} : { hardwareClass: options.group };
  }
  throw new Fault({
    code: 'devices-unnamed',
    what: named === 0 ? 'nobody is named' : 'more than one way of naming devices is used',
    cure: 'Give one of: a DEVICE, --group CLASS, --all.',
    exitStatus: EXIT.usage,
  });
}

function rotate(out: Output, deviceId: string, options: RotateOptions): Promise<Outcome> {
  const waves = options.waves ?? (deviceId === '' ? USUAL_WAVES : '1');
  const request = {
    ...whoOf(deviceId, options),
    waves: parseWaves(waves, parseDuration(options.soak, '--soak')),
    maxFailedPercent: parsePercentage(options.maxFailed, '--max-failed'),
    minSample: parseWholeNumber(options.minSample, '--min-sample', 1, 1_000_000),
    timeoutMs: Math.max(1000, parseDuration(options.timeout, '--timeout')),
    why: options.why,
  };
  return withServer(out, async ({ api }) => {
    const { rotation, parts } = await api.startRotation(request);
    out.say(
      `Started rotation ${rotation.rotationId} of ${rotation.devices} devices in ${rotation.waves.length} waves.`,
    );
    out.next(`holdfast credentials status ${rotation.rotationId}`);
    return { document: { rotation, parts } };
  });
}

function status(out: Output, rotationId: string): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    if (rotationId !== '') {
      const detail = await api.rotation(rotationId);
      sayRotation(out, detail);
      return { document: { ...detail } };
    }
    const devices = (await api.devices()).devices.filter(({ credentials }) => credentials !== null);
    const { rotations } = await api.rotations();
    const standings = Object.fromEntries(
      STANDINGS.map((standing) => [standing, devices.filter(({ credentials }) => credentials === standing).length]),
    );
    out.table([['credentials', 'devices'], ...Object.entries(standings).map(([name, n]) => [name, String(n)])]);
    if (rotations.length > 0) {
      out.say();
      out.table([
        ['rotation', 'state', 'rotated', 'failed', 'devices', 'started', 'why'],
        ...rotations.map((one) => [
          one.rotationId,
          one.state,
          ...[one.rotated, one.failed, one.devices].map(String),
          formatMoment(one.createdUnixMs),
          one.why,
        ]),
      ]);
    }
    return { document: { standings, rotations } };
  });
}

function sayRotation(out: Output, { rotation, parts }: RotationDetail): void {
  out.table([
    ['rotation', rotation.rotationId],
    ['state', rotation.state],
    ['why', rotation.reason],
    ['for', rotation.why],
    ['devices', `${rotation.devices}: ${rotation.rotated} rotated, ${rotation.failed} failed`],
    [
      'gate',
      `halts above ${rotation.maxFailedPercent} % failed, once ${rotation.minSample} were asked; a device has ${formatDuration(rotation.timeoutMs)}`,
    ],
    ['started', `${formatMoment(rotation.createdUnixMs)} by ${rotation.createdBy}`],
    ...rotation.waves.map(({ wave, state, devices, confirmed, failed }, index) => [
      `wave ${index + 1}`,
      `${formatWave(wave)}: ${state}, ${confirmed} of ${devices} rotated, ${failed} failed`,
    ]),
  ]);
  out.say();
  const red = new Set(parts.flatMap(({ state }, index) => (state === 'failed' ? [index + 1] : [])));
  const rows = parts.map(({ deviceId, wave, state, sinceUnixMs, detail }) => [
    deviceId,
    String(wave + 1),
    state,
    formatMoment(sinceUnixMs),
    detail,
  ]);
  out.table([['device', 'wave', 'state', 'since', ''], ...rows], red);
}

function change(out: Output, rotationId: string, verb: RolloutVerb): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const { rotation } = await api.changeRotation(rotationId, verb);
    out.say(`${rotation.rotationId} is ${rotation.state}: ${rotation.reason}`);
    return { document: { rotation } };
  });
}

/** Exit 4 when there is any, so that a scheduled run can raise the alarm. */
function expiring(out: Output, days: string): Promise<Outcome> {
  const withinDays = parseWholeNumber(days, '--days', 0, 3650);
  return withServer(out, async ({ api }) => {
    const nowUnixMs = Date.now();
    const devices = (await api.devices()).devices
      .filter(({ enrolment, certificateEndsUnixMs: ends }) => enrolment === 'enrolled' && ends !== null)
      .map(({ deviceId, online, certificateEndsUnixMs }) => ({
        deviceId,
        online,
        endsUnixMs: certificateEndsUnixMs ?? 0,
      }))
      .filter(({ endsUnixMs }) => endsUnixMs <= nowUnixMs + withinDays * DAY_MS)
      .sort((a, b) => a.endsUnixMs - b.endsUnixMs);
    if (devices.length === 0) out.say(`No certificate ends within ${withinDays} days.`);
    else {
      const rows = devices.map(({ deviceId, online, endsUnixMs }) => [
        deviceId,
        online ? 'online' : 'away',
        formatMoment(endsUnixMs),
        endsUnixMs <= nowUnixMs ? 'expired' : `in ${formatDuration(endsUnixMs - nowUnixMs)}`,
      ]);
      out.table([['device', 'link', 'certificate ends', ''], ...rows], new Set(rows.map((_row, index) => index + 1)));
    }
    return { document: { withinDays, devices }, exitStatus: devices.length === 0 ? EXIT.ok : EXIT.refused };
  });
}

const VERB_SUMMARIES: Record<RolloutVerb, string> = {
  pause: 'ask nobody further until it is resumed',
  resume: 'go on after a pause, or after a halt that a person looked into',
  cancel: 'end a rotation; devices that were asked and have not begun are left as they are',
};

export function addCredentialCommands(program: Command, finish: Finish): void {
  const group = addGroup(program, 'credentials', 'see what devices hold, rotate it, watch certificates');
  const listCommand = addCommand(group, {
    usage: 'list [DEVICE]',
    summary: 'list how devices stand with their credentials; or what one device holds, never the secrets',
    examples: ['holdfast credentials list', 'holdfast credentials list cam-0001'],
  });
  onRun(listCommand, finish, (out, _options, deviceId = '') => list(out, deviceId));
  const rotateCommand = addCommand(group, {
    usage: 'rotate [DEVICE]',
    summary: 'have credentials made anew: by one device, a hardware class or the fleet, in waves',
    details:
      'A device has done it when it states, signed, a later epoch that proves it. Those that are away are asked when they\n' +
      'come back, before they get any other service. Too many failures halt it; going on is then a person’s decision.',
    examples: [
      'holdfast credentials rotate cam-0001 --why "sold on"',
      'holdfast credentials rotate --all --waves "1,25%,100%" --why "yearly"',
    ],
  })
    .option('--group <CLASS>', 'every device of this hardware class')
    .option('--all', 'every enrolled device')
    .option('--waves <LIST>', `numbers of devices or percentages (default: ${USUAL_WAVES}; for one device: 1)`)
    .option('--soak <DURATION>', 'how long a wave must stand before the next opens', '0s')
    .option('--max-failed <PERCENT>', 'halt when more than this share of those asked failed', GATE_DEFAULTS.maxFailed)
    .option('--min-sample <N>', 'count failures once this many were asked', GATE_DEFAULTS.minSample)
    .option('--timeout <DURATION>', 'a device that has not stated a later epoch by then counts as failed', '1h')
    .requiredOption('--why <TEXT>', 'the reason, for the audit log');
  onRun<RotateOptions>(rotateCommand, finish, (out, options, deviceId = '') => rotate(out, deviceId, options));
  const statusCommand = addCommand(group, {
    usage: 'status [ROTATION]',
    summary: 'count devices by how they stand, and list rotations; or show one rotation with each of its devices',
    examples: ['holdfast credentials status', 'holdfast credentials status k1'],
  });
  onRun(statusCommand, finish, (out, _options, rotationId = '') => status(out, rotationId));
  const expiringCommand = addCommand(group, {
    usage: 'expiring',
    summary: 'list certificates that end soon (exit 0: none; 4: some)',
    details: 'Certificates are renewed after two thirds of their life: one that is near its end was not.',
    examples: ['holdfast credentials expiring --days 30'],
  }).option('--days <N>', 'within how many days', '30');
  onRun<{ days: string }>(expiringCommand, finish, (out, options) => expiring(out, options.days));
  for (const verb of ROLLOUT_VERBS) {
    const command = addCommand(group, {
      usage: `${verb} ROTATION`,
      summary: VERB_SUMMARIES[verb],
      examples: [`holdfast credentials ${verb} k1`],
    });
    onRun(command, finish, (out, _options, rotationId = '') => change(out, rotationId, verb));
  }
}
