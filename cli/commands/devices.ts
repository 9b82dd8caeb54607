/** `holdfast devices` and `holdfast explain`: who is out there, how it is, and why it is not on its target. */
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import * as v from 'valibot';
import { refuseInsideRepository } from '../../keys/repository-guard.ts';
import { faultOfSystemError } from '../../platform/command-line.ts';
import { nodeDisk } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { ClaimBatch } from '../../protocol/enrolment.ts';
import type { ClaimsRequest, DeviceDetail, DeviceView } from '../../protocol/operator-api.ts';
import { REASONS } from '../../protocol/reasons.ts';
import { decodeJson } from '../../trust/json.ts';
import { addCommand, addGroup, type Finish, type Outcome, onRun } from '../command.ts';
import { formatMoment } from '../duration.ts';
import type { Output } from '../output.ts';
import { withServer } from '../session.ts';
import { parseWholeNumber } from '../waves.ts';

/** 1000 claims take about 200 KB. */
const BATCH_CAP_BYTES = 4 * 1024 ** 2;

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
      ['agent, board', `${device.agentVersion ?? 'unknown'}, ${device.board ?? 'unknown'}`],
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
  readonly out?: string;
  readonly file?: string;
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
  const order = { hardwareClass: options.class, ids, expiresInDays };
  if (options.file !== undefined && options.out === undefined) return writeBatch(out, order, resolve(options.file));
  if (options.out === undefined || options.file !== undefined) {
    throw new Fault({
      code: 'option-missing',
      what: options.out === undefined ? 'no place for the claims is given' : 'two places for the claims are given',
      cure: 'Give --out FOLDER for a file a device, or --file FILE for the whole batch in one.',
      exitStatus: EXIT.usage,
    });
  }
  return writeEach(out, order, resolve(options.out));
}

async function writeEach(out: Output, order: ClaimsRequest, folder: string): Promise<Outcome> {
  const { ids } = order;
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
    const answer = await api.createClaims(order);
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

function refuseTaken(path: string): void {
  if (!existsSync(path)) return;
  throw new Fault({
    code: 'claim-exists',
    what: 'a file of this name exists already',
    where: path,
    cure: 'Choose another name, or remove the old file.',
    exitStatus: EXIT.refused,
  });
}

/** For a production line: every secret of the batch in one file, taken apart there device by device. */
async function writeBatch(out: Output, order: ClaimsRequest, path: string): Promise<Outcome> {
  await refuseInsideRepository(path, 'claims');
  refuseTaken(path);
  // Before the server makes secrets that are shown once: is there a place to put them?
  const folder = dirname(path);
  await nodeDisk.makeDirectory(folder, 0o700).catch((error: unknown) => {
    throw faultOfSystemError(error, folder) ?? error;
  });
  return withServer(out, async ({ api }) => {
    const batch: ClaimBatch = { format: 'holdfast-claims-1', claims: (await api.createClaims(order)).claims };
    await writeDurably(nodeDisk, path, Buffer.from(`${JSON.stringify(batch, null, 2)}\n`, 'utf8'), 0o600);
    out.say(`${batch.claims.length} claims written to ${path}. Keep it on the production line, and nowhere else.`);
    out.next(`holdfast devices extract-claim ${path} DEVICE --out claim.json   (for each device; needs no server)`);
    return { document: { file: path, devices: batch.claims.map(({ claimId }) => claimId) } };
  });
}

async function extractClaim(out: Output, file: string, deviceId: string, target: string): Promise<Outcome> {
  const source = resolve(file);
  const bytes = await nodeDisk.readFile(source, BATCH_CAP_BYTES).catch((error: unknown) => {
    throw faultOfSystemError(error, source) ?? error;
  });
  const json = decodeJson(bytes ?? new Uint8Array(), { capBytes: BATCH_CAP_BYTES, maxDepth: 4 });
  const batch = v.safeParse(ClaimBatch, json.ok ? json.value : undefined);
  const claim = batch.success ? batch.output.claims.find(({ claimId }) => claimId === deviceId) : undefined;
  if (claim === undefined) {
    throw new Fault({
      code: batch.success ? 'claim-unknown' : 'claims-malformed',
      what: batch.success ? `there is no claim of ${deviceId} in this file` : 'this is not a file of claims',
      where: source,
      cure: 'Give the file that holdfast devices claims --file wrote, and an id that was claimed with it.',
      exitStatus: EXIT.input,
    });
  }
  const path = resolve(target);
  await refuseInsideRepository(path, 'claims');
  refuseTaken(path);
  await writeDurably(nodeDisk, path, Buffer.from(`${JSON.stringify(claim, null, 2)}\n`, 'utf8'), 0o600);
  out.say(
    `The claim of ${deviceId} is in ${path}. It goes to the factory or boot partition of that device, as claim.json.`,
  );
  return { document: { deviceId, path, expiresUnixMs: claim.expiresUnixMs } };
}

interface ApproveOptions {
  readonly why: string;
  readonly key?: string;
}

/** Throws a Fault where it is not clear which: a card that was copied brings a key from each board. */
function chosenKey(deviceId: string, keys: readonly string[], wanted: string | undefined): string {
  const fits = keys.filter((key) => wanted === undefined || key.startsWith(wanted));
  const [only] = fits;
  if (only !== undefined && fits.length === 1) return only;
  throw new Fault({
    code: fits.length === 0 ? 'key-unknown' : 'key-unnamed',
    what:
      fits.length === 0
        ? 'no key that waits begins so'
        : `${fits.length} keys wait with one claim: its card was copied`,
    where: `devices approve ${deviceId}`,
    cure: `Say which takes the place of the one in use: --key ${keys.map((key) => key.slice(0, 12)).join(' or ') || '(none waits)'}. A copy that shall be a device of its own needs a claim of its own.`,
    exitStatus: EXIT.usage,
  });
}

/** Shows what waits, and approves just that: a device that says something else by then is refused. */
function approve(out: Output, deviceId: string, { why, key: wanted }: ApproveOptions): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const { credentials } = await api.device(deviceId);
    const keys = (credentials?.waitingKeys ?? []).map(({ keySha256 }) => keySha256);
    if (keys.length > 0 || wanted !== undefined) {
      const key = chosenKey(deviceId, keys, wanted);
      out.say(`A key (${key.slice(0, 12)}) came with its claim, which another key had used before.`);
      const { device } = await api.approveDevice(deviceId, { what: 'key', value: key, why });
      out.say('It is approved: it enrols by itself within a week, and the former key is refused from then on.');
      return { document: { device } };
    }
    for (const { code, detail } of credentials?.flags ?? []) out.say(`${code}: ${detail}`);
    const board = credentials?.hardwareId ?? null;
    const { device } = await api.approveDevice(deviceId, { what: 'hardware', value: board, why });
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
    isDefault: true,
    examples: ['holdfast devices list', 'holdfast devices list --reason rolled-back', 'holdfast devices --factory'],
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
    details:
      'Writes one file for each device, or the whole batch into one, 0600. The server shows the secrets this once.\n' +
      'A file on the device is named claim.json, on its factory or boot partition (docs/CREDENTIALS.md).',
    examples: [
      'holdfast devices claims --class acme-cam --ids cam-0001,cam-0002 --out ~/claims',
      'holdfast devices claims --class acme-cam --prefix cam- --count 8 --out ~/claims',
      'holdfast devices claims --class acme-cam --prefix cam- --count 500 --file ~/batch-7.claims.json',
    ],
  })
    .requiredOption('--class <NAME>', 'hardware class of the devices')
    .option('--ids <LIST>', 'device ids with commas')
    .option('--prefix <TEXT>', 'instead of --ids: number devices from 0001 behind this prefix')
    .option('--count <N>', 'with --prefix: how many')
    .option('--expires-days <N>', 'how long the claims are good', '30')
    .option('--out <FOLDER>', 'where the claim files go; outside of every git repository')
    .option('--file <FILE>', 'instead of --out: one file with the claims of the whole batch');
  onRun<ClaimsOptions>(claimsCommand, finish, claims);
  const extractCommand = addCommand(group, {
    usage: 'extract-claim FILE DEVICE',
    summary: "take one device's claim out of a batch; needs no server",
    examples: ['holdfast devices extract-claim ~/batch-7.claims.json cam-0001 --out /media/boot/claim.json'],
  }).requiredOption('--out <FILE>', 'where it goes, 0600');
  onRun<{ out: string }>(extractCommand, finish, (out, options, file = '', deviceId = '') =>
    extractClaim(out, file, deviceId, options.out),
  );
  const approveCommand = addCommand(group, {
    usage: 'approve DEVICE',
    summary: 'say that a device is right on the board that it is on now: its card was moved',
    examples: [
      'holdfast devices approve cam-0003 --why "board replaced"',
      'holdfast devices approve cam-0003 --key 4f1c22 --why "this copy replaces it"',
    ],
  })
    .requiredOption('--why <TEXT>', 'the reason, for the audit log')
    .option('--key <HEX>', 'where several keys wait with its claim: the beginning of the one that is right');
  onRun<ApproveOptions>(approveCommand, finish, (out, options, deviceId = '') => approve(out, deviceId, options));
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
