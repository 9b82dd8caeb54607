/**
 * `holdfast escrow`: what devices left sealed for their owners. Works without any server, on a blob that it gave out.
 * What is opened goes to a terminal or into a new file (0600), and nowhere else: no pipe, no JSON document, no log.
 */
import { basename, resolve } from 'node:path';
import type { Command } from 'commander';
import { openEscrowKey, readEscrowKey, readOwnerPublicKeys } from '../../keys/escrow-key.ts';
import { checkEscrow, type EscrowExpectation, openEscrow, resealEscrow } from '../../keys/escrow-open.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import type { HpkeKeyPair } from '../../platform/hpke.ts';
import { readInputFile } from '../../platform/input-file.ts';
import { ownerIdOf } from '../../protocol/escrow.ts';
import { ESCROW_CODES, type EscrowCode, type EscrowRefusal } from '../../protocol/escrow-codes.ts';
import { decodeEscrowFile, ESCROW_FILE_CAP_BYTES, type EscrowFile } from '../../protocol/escrow-resealed.ts';
import { hex } from '../../trust/bytes.ts';
import { sha256Hex } from '../../trust/crypto.ts';
import { addCommand, addGroup, collectValues, type Finish, type Outcome, onRun } from '../command.ts';
import { readDevicePublicKey } from '../device-key-file.ts';
import type { Output } from '../output.ts';
import { passphraseSource } from '../passphrase-source.ts';
import { demandNewFile, demandNewSecretFile, writeNewFile } from '../secret-file.ts';
import { parseWholeNumber } from '../waves.ts';
import { addEscrowKeyCommands } from './escrow-key.ts';
import { addEscrowServerCommands } from './escrow-server.ts';

interface CheckOptions {
  readonly device?: string;
  readonly epoch?: string;
  readonly deviceKey?: string;
}

interface OpenOptions extends CheckOptions {
  readonly key: string;
  readonly out?: string;
  readonly passphraseFile?: string;
}

interface ResealOptions extends OpenOptions {
  readonly owner: readonly string[];
  readonly out: string;
}

const CURES: Readonly<Partial<Record<EscrowCode, string>>> = {
  'escrow-malformed': 'Give the file as the server or the device gave it.',
  'escrow-signature-invalid': 'Do not trust this file. Fetch it again, and check whose certificate was given.',
  'escrow-other-device': 'Give the blob of this device.',
  'escrow-other-epoch': 'Give the blob of this epoch; an older one holds secrets that are no longer in effect.',
  'escrow-not-an-owner': 'Give the key of an owner that `holdfast escrow inspect` lists.',
  'escrow-altered': 'Fetch the blob again; another owner may still be able to open it.',
  'escrow-too-many-owners': 'Name 1 to 16 owners.',
};

function refused({ code, detail }: EscrowRefusal, where: string): Fault {
  const sentence = ESCROW_CODES[code].replace(/\.$/, '');
  const cure = CURES[code] ?? 'Look at the blob with `holdfast escrow inspect`.';
  return new Fault({ code, what: `${sentence} (${detail})`, where, cure, exitStatus: EXIT.refused });
}

async function readBlob(path: string): Promise<EscrowFile> {
  const decoded = decodeEscrowFile(await readInputFile(path, ESCROW_FILE_CAP_BYTES, 'an escrow blob'));
  if (!decoded.ok) throw refused(decoded, path);
  return decoded.file;
}

async function expectationOf(options: CheckOptions): Promise<EscrowExpectation> {
  const key = options.deviceKey === undefined ? undefined : await readDevicePublicKey(options.deviceKey);
  const deviceId = options.device ?? key?.deviceId;
  return {
    ...(deviceId === undefined ? {} : { deviceId }),
    ...(options.epoch === undefined
      ? {}
      : { epoch: parseWholeNumber(options.epoch, '--epoch', 1, Number.MAX_SAFE_INTEGER) }),
    ...(key === undefined ? {} : { devicePublicKey: key.point }),
  };
}

/** What is known without any owner's key: refused, or said. */
function checked(out: Output, file: EscrowFile, expected: EscrowExpectation, path: string): 'verified' | 'unchecked' {
  const wrong = checkEscrow(file, expected);
  if (wrong !== undefined) throw refused(wrong, path);
  if (expected.devicePublicKey !== undefined) return 'verified';
  out.warn(
    'The signature was not checked: anybody who knows the owners could have sealed this. Give the device with --device-key.',
  );
  return 'unchecked';
}

/** The key is open for `use` and no longer. */
async function withOwnerKey<T>(
  options: Pick<OpenOptions, 'key' | 'passphraseFile'>,
  use: (owner: HpkeKeyPair) => Promise<T>,
): Promise<T> {
  const file = await readEscrowKey(options.key);
  const passphrase = await passphraseSource(options.passphraseFile, false)(file.owner);
  try {
    const owner = await openEscrowKey(file, passphrase);
    try {
      return await use(owner);
    } finally {
      owner.privateKey.fill(0);
    }
  } finally {
    passphrase.wipe();
  }
}

/** As it is typed; in quotes where a terminal would hide a part of it (spaces at an end, control characters). */
function shown(text: string): string {
  return /^[^\s\p{C}](?:[^\p{C}]*[^\s\p{C}])?$/u.test(text) ? text : JSON.stringify(text);
}

async function demandPlaceForSecrets(out: Output, options: OpenOptions): Promise<void> {
  if (options.out !== undefined) return demandNewSecretFile(options.out);
  if (!out.json && process.stdout.isTTY) return;
  throw new Fault({
    code: 'secrets-need-a-place',
    what: 'secrets are shown on a terminal or written to a new file, and this is neither',
    where: '--out',
    cure: 'Give --out FILE; it is made with mode 0600.',
    exitStatus: EXIT.usage,
  });
}

async function open(out: Output, options: OpenOptions, path: string): Promise<Outcome> {
  await demandPlaceForSecrets(out, options);
  const [file, expected] = [await readBlob(path), await expectationOf(options)];
  const signature = checked(out, file, expected, path);
  const opened = await withOwnerKey(options, (owner) => openEscrow(file, owner, expected));
  if (!opened.ok) throw refused(opened, path);
  const { deviceId, epoch } = file.blob;
  if (options.out === undefined) {
    out.say(`${deviceId}, epoch ${epoch}:`);
    out.table(opened.secrets.map(({ name, text }) => [name, shown(text)]));
    out.say();
  } else {
    const document = { device: deviceId, epoch, signature, secrets: opened.secrets };
    await writeNewFile(options.out, Buffer.from(`${JSON.stringify(document, null, 2)}\n`, 'utf8'));
    out.say(`${opened.secrets.length} secrets of ${deviceId}, epoch ${epoch}, are in ${resolve(options.out)} (0600).`);
  }
  out.say('What was opened is no longer a secret of the device alone. Use it, then have it replaced.');
  out.next(`holdfast credentials rotate ${deviceId}`);
  const names = opened.secrets.map(({ name }) => name);
  const written = options.out === undefined ? null : resolve(options.out);
  return { document: { device: deviceId, epoch, signature, names, out: written, rotate: deviceId } };
}

async function inspect(out: Output, options: CheckOptions, path: string): Promise<Outcome> {
  const [file, expected] = [await readBlob(path), await expectationOf(options)];
  const signature = checked(out, file, expected, path);
  const { blob, blobBytes, added } = file;
  const owners = blob.keys.map(({ owner }) => hex(owner));
  const addedOwners = added.map(({ owner }) => hex(owner));
  out.table([
    ['device', blob.deviceId],
    ['epoch', String(blob.epoch)],
    ['signature', signature === 'verified' ? "the device's" : 'not checked'],
    ['sha256', sha256Hex(blobBytes)],
    ...owners.map((owner) => ['sealed to', owner]),
    ...addedOwners.map((owner) => ['and, not by the device, to', owner]),
  ]);
  const document = { device: blob.deviceId, epoch: blob.epoch, signature, sha256: sha256Hex(blobBytes), owners };
  return { document: { ...document, added: addedOwners } };
}

async function reseal(out: Output, options: ResealOptions, path: string): Promise<Outcome> {
  await demandNewFile(options.out);
  const owners = await readOwnerPublicKeys(options.owner);
  if (owners.length === 0) {
    throw new Fault({
      code: 'option-missing',
      what: 'no further owner is named',
      where: '--owner',
      cure: 'Give --owner FILE, the public key of each: `holdfast escrow key new` makes one.',
      exitStatus: EXIT.usage,
    });
  }
  const [file, expected] = [await readBlob(path), await expectationOf(options)];
  const signature = checked(out, file, expected, path);
  const resealed = await withOwnerKey(options, (opener) => resealEscrow(file, opener, owners, expected));
  if (!resealed.ok) throw refused(resealed, path);
  await writeNewFile(options.out, resealed.bytes);
  const ids = owners.map((key) => hex(ownerIdOf(key))).sort();
  const { deviceId } = file.blob;
  out.say(
    `${basename(options.out)} is the blob of ${deviceId} as it signed it, and opens with ${ids.length} further keys.`,
  );
  out.say(
    'It takes nothing from anybody: a former owner who has the old blob can open it still. Only new secrets end that.',
  );
  out.next(`holdfast credentials rotate ${deviceId}   (it happens when the device is back)`);
  return { document: { device: deviceId, epoch: file.blob.epoch, signature, added: ids, out: resolve(options.out) } };
}

function takeChecks(command: Command): Command {
  return command
    .option('--device <ID>', 'refuse a blob of any other device')
    .option('--epoch <N>', 'refuse a blob of any other epoch')
    .option('--device-key <FILE>', "the device's certificate or public key (PEM): verify who sealed it");
}

export function addEscrowCommands(program: Command, finish: Finish): void {
  const group = addGroup(program, 'escrow', 'what devices sealed for their owners: get it, open it (offline)');
  addEscrowKeyCommands(group, finish);
  addEscrowServerCommands(group, finish);
  const openCommand = takeChecks(
    addCommand(group, {
      usage: 'open BLOB',
      summary: "open a device's sealed secrets with an owner's key",
      details:
        'Shows them on a terminal, or writes them to a new file (0600); never into a pipe or a JSON document. What was opened\n' +
        'must be rotated.',
      examples: [
        'holdfast escrow open cam-0001.escrow --key ann.escrow-key --device cam-0001 --device-key cam-0001.crt',
        'holdfast escrow open cam-0001.escrow --key ann.escrow-key --out ~/cam-0001.secrets --json',
      ],
    }),
  )
    .requiredOption('--key <FILE>', "an owner's key")
    .option('--out <FILE>', 'write the secrets to this new file (0600) instead of the terminal')
    .option('--passphrase-file <FILE>', 'the passphrase of the key; else the terminal asks');
  onRun<OpenOptions>(openCommand, finish, (out, options, path = '') => open(out, options, path));
  const inspectCommand = takeChecks(
    addCommand(group, {
      usage: 'inspect BLOB',
      summary: 'whose it is, and who can open it; needs no key and shows no secret',
      examples: ['holdfast escrow inspect cam-0001.escrow --device-key cam-0001.crt'],
    }),
  );
  onRun<CheckOptions>(inspectCommand, finish, (out, options, path = '') => inspect(out, options, path));
  const resealCommand = takeChecks(
    addCommand(group, {
      usage: 'reseal BLOB',
      summary: 'let further owners open the blob of a device that is away',
      details:
        "Puts the blob, as its device signed it, beside its content key sealed to the owners named. The device's signature\n" +
        'still covers what is read. It takes no owner away: for that, rotate the device.',
      examples: [
        'holdfast escrow reseal cam-0001.escrow --key ann.escrow-key --owner eve.escrow-key.pub --out cam-0001.resealed',
      ],
    }),
  )
    .requiredOption('--key <FILE>', 'the key of an owner who can open it')
    .requiredOption('--owner <FILE>', "an owner's public key; give the option once for each", collectValues, [])
    .requiredOption('--out <FILE>', 'the file to make')
    .option('--passphrase-file <FILE>', 'the passphrase of the key; else the terminal asks');
  onRun<ResealOptions>(resealCommand, finish, (out, options, path = '') => reseal(out, options, path));
}
