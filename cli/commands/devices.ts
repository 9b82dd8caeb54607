/** `holdfast devices` and `holdfast explain`: who is out there, how it is, and why it is not on its target. */
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { refuseInsideRepository } from '../../keys/repository-guard.ts';
import { faultOfSystemError } from '../../platform/command-line.ts';
import { nodeDisk } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import type { DeviceDetail, DeviceView } from '../../protocol/operator-api.ts';
import { REASONS } from '../../protocol/reasons.ts';
import { addCommand, addGroup, type Finish, type Outcome, onRun } from '../command.ts';
import { formatMoment } from '../duration.ts';
import type { Output } from '../output.ts';
import { withServer } from '../session.ts';
import { parseWholeNumber } from '../waves.ts';

function deviceRow(device: DeviceView): string[] {
  const installed = device.installed === null ? '-' : `${device.installed.version} (${device.installed.sequence})`;
  return [
    device.deviceId,
    device.hardwareClass,
    device.online ? 'online' : 'away',
    installed,
    device.bootedSlot ?? '-',
    device.state ?? device.enrolment,
    device.credentials ?? '-',
    device.reason,
  ];
}

interface ListOptions {
  readonly class?: string;
  readonly reason?: string;
  readonly factory?: boolean;
}

/** Enrolled, and its rotation is not proven. */
const isUnproven = ({ credentials }: DeviceView): boolean => credentials !== null && credentials !== 'proven';

function list(out: Output, options: ListOptions): Promise<Outcome> {
  if (options.reason !== undefined && !Object.hasOwn(REASONS, options.reason)) {
    throw new Fault({
      code: 'reason-unknown',
      what: `'${options.reason}' is not a reason`,
      where: '--reason',
      cure: `Give one of: ${Object.keys(REASONS).join(', ')}.`,
      exitStatus: EXIT.usage,
    });
  }
  return withServer(out, async ({ api }) => {
    const devices = (await api.devices()).devices
      .filter((device) => options.class === undefined || device.hardwareClass === options.class)
      .filter((device) => options.reason === undefined || device.reason === options.reason)
      .filter((device) => options.factory !== true || isUnproven(device));
    if (devices.length === 0 && options.factory === true) out.say('Every device that is shown has proven rotation.');
    else if (devices.length === 0) out.say('No such device. Make claims first: holdfast devices claims --help.');
    else {
      const red = new Set(devices.flatMap((device, index) => (isUnproven(device) ? [index + 1] : [])));
      const heading = ['device', 'class', 'link', 'version', 'slot', 'state', 'credentials', 'why'];
      out.table([heading, ...devices.map(deviceRow)], red);
    }
    return { document: { devices } };
  });
}

function sayExplanation(out: Output, { explanation, device, credentials }: DeviceDetail): void {
  out.say(`${explanation.deviceId}: ${explanation.reason}. ${REASONS[explanation.reason].meaning}`);
  out.table([
    ...(explanation.detail === '' ? [] : [['  detail', explanation.detail]]),
    ['  since', explanation.sinceUnixMs === null ? 'unknown' : formatMoment(explanation.sinceUnixMs)],
    ['  next', explanation.next],
    ['  cure', explanation.cure],
  ]);
  if (credentials === null || !isUnproven(device)) return;
  const why = credentials.flags.map(({ code, detail }) => `${code} (${detail})`).join(', ');
  out.say(`Its credentials: ${credentials.standing}${why === '' ? '' : `: ${why}`}.`);
}

function show(out: Output, deviceId: string): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const detail = await api.device(deviceId);
    const { device, history } = detail;
    out.table([
      ['device', device.deviceId],
      ['class, channel', `${device.hardwareClass}, ${device.channel ?? 'unknown'}`],
      ['enrolment', device.enrolment],
      [
        'link',
        device.online
          ? 'online'
          : `away${device.lastSeenUnixMs === null ? '' : `, last seen ${formatMoment(device.lastSeenUnixMs)}`}`,
      ],
      [
        'version',
        device.installed === null
          ? 'unknown'
          : `${device.installed.version} (sequence ${device.installed.sequence}, floor ${device.floorSequence})`,
      ],
      ['slot, state', `${device.bootedSlot ?? '-'}, ${device.state ?? '-'}`],
      ['agent', device.agentVersion ?? 'unknown'],
    ]);
    out.say();
    sayExplanation(out, detail);
    if (history.length > 0) {
      out.say();
      out.table([
        ['when', 'what', ''],
        ...history.map((event) => [formatMoment(event.atUnixMs), event.kind, event.text]),
      ]);
    }
    return { document: detail };
  });
}

function explain(out: Output, deviceId: string): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const detail = await api.device(deviceId);
    sayExplanation(out, detail);
    return { document: { explanation: detail.explanation } };
  });
}

interface ClaimsOptions {
  readonly class: string;
  readonly ids?: string;
  readonly prefix?: string;
  readonly count?: string;
  readonly expiresDays: string;
  readonly out: string;
}

function idsOf(options: ClaimsOptions): string[] {
  const wrong = (what: string, cure: string): Fault =>
    new Fault({ code: 'ids-malformed', what, where: '--ids', cure, exitStatus: EXIT.usage });
  const ids =
    options.ids === undefined
      ? Array.from(
          { length: parseWholeNumber(options.count ?? '1', '--count', 1, 1000) },
          (_, index) => `${options.prefix ?? ''}${String(index + 1).padStart(4, '0')}`,
        )
      : options.ids.split(',').map((id) => id.trim());
  if (options.ids === undefined && options.prefix === undefined)
    throw wrong('no device is named', 'Give --ids cam-0001,cam-0002, or --prefix cam- --count 2.');
  const bad = ids.find((id) => !/^[a-z0-9][a-z0-9._-]{0,63}$/.test(id));
  if (bad !== undefined)
    throw wrong(`'${bad}' is not a device id`, 'Use 1 to 64 of a-z 0-9 . _ - beginning with a letter or digit.');
  if (new Set(ids).size !== ids.length) throw wrong('a device id is named twice', 'Name each once.');
  return ids;
}

async function claims(out: Output, options: ClaimsOptions): Promise<Outcome> {
  const ids = idsOf(options);
  const expiresInDays = parseWholeNumber(options.expiresDays, '--expires-days', 1, 3650);
  const folder = resolve(options.out);
  await refuseInsideRepository(folder, 'claims');
  // Before the server makes secrets that are shown once: is there a place to put them?
  await nodeDisk.makeDirectory(folder, 0o700).catch((error: unknown) => {
    throw faultOfSystemError(error, folder) ?? error;
  });
  const taken = new Set(await nodeDisk.list(folder));
  const existing = ids.find((id) => taken.has(`${id}.claim.json`));
  if (existing !== undefined) {
    throw new Fault({
      code: 'claim-exists',
      what: 'a claim file of this name exists already',
      where: join(folder, `${existing}.claim.json`),
      cure: 'Choose another folder, or remove the old file.',
      exitStatus: EXIT.refused,
    });
  }
  return withServer(out, async ({ api }) => {
    const answer = await api.createClaims({ hardwareClass: options.class, ids, expiresInDays });
    const files: { deviceId: string; path: string; expiresUnixMs: number }[] = [];
    for (const claim of answer.claims) {
      const path = join(folder, `${claim.claimId}.claim.json`);
      await writeDurably(nodeDisk, path, Buffer.from(`${JSON.stringify(claim, null, 2)}\n`, 'utf8'), 0o600);
      files.push({ deviceId: claim.claimId, path, expiresUnixMs: claim.expiresUnixMs });
    }
    out.say(
      `${files.length} claim${files.length === 1 ? '' : 's'} written to ${folder}. Each goes to the factory partition of its device, and nowhere else.`,
    );
    out.table([['device', 'file'], ...files.map((file) => [file.deviceId, file.path])]);
    out.next('put each file into its device as claim.json and power it', 'holdfast devices list');
    return { document: { claims: files } };
  });
}

/** Shows what waits, and approves just that: a device that says something else by then is refused. */
function approve(out: Output, deviceId: string, why: string): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const { credentials } = await api.device(deviceId);
    for (const { code, detail } of credentials?.flags ?? []) out.say(`${code}: ${detail}`);
    const { device } = await api.approveDevice(deviceId, { hardwareId: credentials?.hardwareId ?? null, why });
    out.say(`${device.deviceId} is approved on the board that it is on now; its credentials: ${device.credentials}.`);
    return { document: { device } };
  });
}

function revoke(out: Output, deviceId: string, why: string): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const { device } = await api.revokeDevice(deviceId, why);
    out.say(`${device.deviceId} is ${device.enrolment}: it is refused from now on, live sessions included.`);
    out.next(
      `holdfast devices claims --class ${device.hardwareClass} --ids ${device.deviceId} --out CLAIMS   (to take it back)`,
    );
    return { document: { device } };
  });
}

export function addDeviceCommands(program: Command, finish: Finish): void {
  const group = addGroup(program, 'devices', 'see devices, admit new ones, shut one out');
  const listCommand = addCommand(group, {
    usage: 'list',
    summary: 'list devices, and in one word why each is where it is',
    examples: [
      'holdfast devices list',
      'holdfast devices list --reason rolled-back',
      'holdfast devices list --factory',
    ],
  })
    .option('--class <NAME>', 'only this hardware class')
    .option('--reason <REASON>', 'only devices with this reason')
    .option('--factory', 'only devices that have not proven that their factory secrets are gone');
  onRun<ListOptions>(listCommand, finish, list);
  const showCommand = addCommand(group, {
    usage: 'show DEVICE',
    summary: 'show one device, its explanation and its history',
    examples: ['holdfast devices show cam-0001'],
  });
  onRun(showCommand, finish, (out, _options, deviceId = '') => show(out, deviceId));
  const claimsCommand = addCommand(group, {
    usage: 'claims',
    summary: 'make claims: the secrets by which new devices enrol',
    details: 'Writes one file for each device, 0600. The server shows the secrets this once.',
    examples: [
      'holdfast devices claims --class acme-cam --ids cam-0001,cam-0002 --out ~/claims',
      'holdfast devices claims --class acme-cam --prefix cam- --count 8 --out ~/claims',
    ],
  })
    .requiredOption('--class <NAME>', 'hardware class of the devices')
    .option('--ids <LIST>', 'device ids with commas')
    .option('--prefix <TEXT>', 'instead of --ids: number devices from 0001 behind this prefix')
    .option('--count <N>', 'with --prefix: how many')
    .option('--expires-days <N>', 'how long the claims are good', '30')
    .requiredOption('--out <FOLDER>', 'where the claim files go; outside of every git repository');
  onRun<ClaimsOptions>(claimsCommand, finish, claims);
  const approveCommand = addCommand(group, {
    usage: 'approve DEVICE',
    summary: 'say that a device is right on the board that it is on now: its card was moved',
    examples: ['holdfast devices approve cam-0003 --why "board replaced"'],
  }).requiredOption('--why <TEXT>', 'the reason, for the audit log');
  onRun<{ why: string }>(approveCommand, finish, (out, options, deviceId = '') => approve(out, deviceId, options.why));
  const revokeCommand = addCommand(group, {
    usage: 'revoke DEVICE',
    summary: "end a device's access, at once",
    examples: ['holdfast devices revoke cam-0003 --why "stolen"'],
  }).requiredOption('--why <TEXT>', 'the reason, for the audit log');
  onRun<{ why: string }>(revokeCommand, finish, (out, options, deviceId = '') => revoke(out, deviceId, options.why));
  const explainCommand = addCommand(program, {
    usage: 'explain DEVICE',
    summary: 'say why a device is not on its target, since when, what comes next, and the cure',
    examples: ['holdfast explain cam-0001'],
  });
  onRun(explainCommand, finish, (out, _options, deviceId = '') => explain(out, deviceId));
}
