/** `holdfast keys`: the ceremony, and a look at what it made. Works without any server. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { initCeremony } from '../../keys/ceremony.ts';
import { inspectCeremony } from '../../keys/ceremony-inspection.ts';
import { CEREMONY_RECORD_CAP_BYTES, decodeCeremonyRecord } from '../../keys/ceremony-record.ts';
import { readOwnerPublicKeys } from '../../keys/escrow-key.ts';
import { openKey, readKeyFile } from '../../keys/key-file.ts';
import type { SignatureAlgorithm } from '../../keys/signing-key.ts';
import { faultOfSystemError } from '../../platform/command-line.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { namingPath, readInputFile } from '../../platform/input-file.ts';
import { ownerIdOf } from '../../protocol/escrow.ts';
import { hex } from '../../trust/bytes.ts';
import { addCommand, addGroup, collectValues, type Finish, type Outcome, onRun } from '../command.ts';
import type { Output } from '../output.ts';
import { passphraseSource } from '../passphrase-source.ts';
import { parseWholeNumber } from '../waves.ts';
import { addKeysRootCommands } from './keys-root.ts';

interface InitOptions {
  readonly people: string;
  readonly dir: string;
  readonly vendor: string;
  readonly class: readonly string[];
  readonly authorAlgorithm: string;
  readonly escrowKey: readonly string[];
  readonly passphraseFile?: string;
}

function parseAlgorithm(text: string): SignatureAlgorithm {
  if (text === 'ed25519' || text === 'esp256') return text;
  throw new Fault({
    code: 'algorithm-unknown',
    what: `'${text}' is not an algorithm for author keys`,
    where: '--author-algorithm',
    cure: 'Give ed25519 or esp256.',
    exitStatus: EXIT.usage,
  });
}

async function init(out: Output, options: InitOptions): Promise<Outcome> {
  const people = parseWholeNumber(options.people, '--people', 1, 99);
  const escrowKeys = await readOwnerPublicKeys(options.escrowKey);
  const progress = out.progress('Making keys', people * 2 + options.class.length, String);
  const { directory, record } = await initCeremony({
    directory: options.dir,
    vendor: options.vendor,
    hardwareClasses: options.class,
    people,
    authorAlgorithm: parseAlgorithm(options.authorAlgorithm),
    escrowKeys,
    passphraseFor: passphraseSource(options.passphraseFile, true),
    nowUnixS: Math.floor(Date.now() / 1000),
    onKey: (number, _total, holder) => progress.update(number - 1, holder),
  });
  progress.finish();
  out.environment(record.environment);
  out.say(`A ceremony stands in ${directory}`);
  out.table([
    ['folder', 'hand it to', 'what it holds'],
    ...record.people.map(({ name }) => [`${name}/`, 'one person', 'root.key, targets.key']),
    ...record.authors.map((author) => [
      `${author.folder}/`,
      'whoever builds releases',
      `author.key for ${author.hardwareClasses.join(', ')}`,
    ]),
    ['server/', 'the update server', 'online keys (sealed), and the key that opens them'],
    ['public/', 'everybody', 'the signed root and targets; goes into device images'],
  ]);
  out.say(
    `It takes ${record.thresholds.root} of ${people} people to change the root, and ${record.thresholds.targets} to publish a release.`,
  );
  if (escrowKeys.length === 0)
    out.say('It names no owner: devices cannot leave a way in for you (holdfast escrow key new NAME, --escrow-key).');
  else sayOwners(out, escrowKeys);
  out.next(
    `holdfast keys verify ${directory}`,
    `holdfast-server run --data SERVER-DATA --keys ${join(directory, 'server')}`,
  );
  return { document: { directory, ceremony: record, owners: escrowKeys.map(ownerOf) } };
}

const ownerOf = (publicKey: Uint8Array): string => hex(ownerIdOf(publicKey));

function sayOwners(out: Output, escrowKeys: readonly Uint8Array[]): void {
  out.say(`Devices seal what may be needed one day to ${escrowKeys.length} owners, each of whom can open it alone:`);
  out.table(escrowKeys.map((key) => [`  ${ownerOf(key)}`]));
}

async function show(out: Output, path: string): Promise<Outcome> {
  const facts = await stat(path).catch((error: unknown) => {
    throw faultOfSystemError(error, path) ?? error;
  });
  if (facts.isFile()) {
    const { ciphertext: _sealed, ...key } = await readKeyFile(path);
    out.table([
      ['key', path],
      ['role', key.role],
      ['holder', key.person],
      ['key id', key.keyId],
      ['algorithm', key.algorithm],
      ['public key', key.publicKey],
      ['encrypted with', `${key.kdf.name} N=${key.kdf.N} r=${key.kdf.r} p=${key.kdf.p}, ${key.cipher.name}`],
    ]);
    return { document: { key } };
  }
  const recordPath = join(path, 'public', 'ceremony.json');
  const bytes = await readInputFile(recordPath, CEREMONY_RECORD_CAP_BYTES, 'the record of a ceremony');
  const record = await namingPath(recordPath, () => decodeCeremonyRecord(bytes));
  out.environment(record.environment);
  out.table([
    ['vendor', record.vendor],
    ['made', new Date(record.createdUnixS * 1000).toISOString()],
    ['environment', record.environment],
    ['root', `${record.thresholds.root} of ${record.people.length}`],
    ['targets', `${record.thresholds.targets} of ${record.people.length}`],
    ['root sha256', record.rootSha256],
  ]);
  out.say();
  out.table([
    ['holder', 'role', 'key id'],
    ...record.people.flatMap((person) => [
      [person.name, 'root', person.rootKeyId],
      [person.name, 'targets', person.targetsKeyId],
    ]),
    ...record.authors.map((author) => [author.folder, `author (${author.hardwareClasses.join(', ')})`, author.keyId]),
  ]);
  return { document: { ceremony: record } };
}

async function verify(
  out: Output,
  directory: string,
  options: { readonly passphraseFile?: string; readonly open?: boolean },
): Promise<Outcome> {
  const { root, keys, problems } = await inspectCeremony(directory);
  out.environment(root.holdfast.environment);
  const escrowKeys = root.holdfast.escrowKeys.map((text) => Buffer.from(text, 'hex'));
  let opened = 0;
  if (options.open === true) {
    const passphraseFor = passphraseSource(options.passphraseFile, false);
    const progress = out.progress('Opening keys', keys.length, String);
    for (const { path, file } of keys) {
      progress.update(opened, path);
      const passphrase = await passphraseFor(path);
      try {
        await namingPath(join(directory, path), () => openKey(file, passphrase));
      } finally {
        passphrase.wipe();
      }
      opened += 1;
    }
    progress.finish();
  }
  if (problems.length === 0) {
    const { root: rootRole, targets } = root.roles;
    out.say(
      `Good: the root verifies, ${keys.length} offline keys fit it, no folder holds a threshold (root ${rootRole.threshold}, targets ${targets.threshold}), nothing secret is public.`,
    );
    if (options.open === true) out.say(`All ${opened} keys open.`);
  } else {
    out.say('Problems:');
    out.table([['code', 'where', 'what'], ...problems.map(({ code, where, what }) => [code, where, what])]);
  }
  if (escrowKeys.length > 0) sayOwners(out, escrowKeys);
  const document = {
    environment: root.holdfast.environment,
    owners: escrowKeys.map(ownerOf),
    rootVersion: root.version,
    thresholds: { root: root.roles.root.threshold, targets: root.roles.targets.threshold },
    keys: keys.map(({ path, file }) => ({ path, role: file.role, keyId: file.keyId })),
    problems,
    ...(options.open === true ? { opened } : {}),
  };
  return { document, exitStatus: problems.length === 0 ? EXIT.ok : EXIT.refused };
}

export function addKeysCommands(program: Command, finish: Finish): void {
  const group = addGroup(program, 'keys', 'make and look at the keys that sign releases (offline)');
  const initCommand = addCommand(group, {
    usage: 'init',
    summary: 'hold a ceremony: make every key and the first signed root',
    details:
      'Makes one folder for each person, each author, the server and the public. No folder alone can sign a release.\n' +
      'The private keys are encrypted with passphrases. Made on one machine, it is a rehearsal and says so in the signed root.',
    examples: ['holdfast keys init --people 3 --dir ~/ceremony --vendor acme.example --class acme-cam'],
  })
    .requiredOption('--dir <FOLDER>', 'the folder to make; outside of every git repository')
    .requiredOption('--vendor <NAME>', 'your name as a vendor, like acme.example')
    .requiredOption('--class <NAME>', 'a hardware class; give the option once for each', collectValues, [])
    .option('--people <N>', 'how many people hold keys (2 to 9)', '3')
    .option('--author-algorithm <NAME>', 'ed25519 or esp256 (P-256)', 'ed25519')
    .option('--escrow-key <FILE>', 'public key of an owner, at least two or none; once for each', collectValues, [])
    .option(
      '--passphrase-file <FILE>',
      'one passphrase for all keys (for rehearsals); else the terminal asks each person',
    );
  onRun<InitOptions>(initCommand, finish, init);
  addKeysRootCommands(group, finish);
  const showCommand = addCommand(group, {
    usage: 'show PATH',
    summary: 'show a key file or a ceremony folder; asks for no passphrase',
    examples: ['holdfast keys show ~/ceremony', 'holdfast keys show ~/ceremony/person-1/targets.key'],
  });
  onRun(showCommand, finish, (out, _options, path = '') => show(out, path));
  const verifyCommand = addCommand(group, {
    usage: 'verify FOLDER',
    summary: 'check a ceremony: thresholds, permissions, keys in the wrong place',
    examples: ['holdfast keys verify ~/ceremony', 'holdfast keys verify ~/ceremony --open --passphrase-file pass.txt'],
  })
    .option('--open', 'also open every key with its passphrase')
    .option('--passphrase-file <FILE>', 'the passphrase for --open; else the terminal asks');
  onRun<{ passphraseFile?: string; open?: boolean }>(verifyCommand, finish, (out, options, directory = '') =>
    verify(out, directory, options),
  );
}
