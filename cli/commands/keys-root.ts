/** `holdfast keys root`: the next version of the signed root, for a fleet whose owners change. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { readOwnerPublicKeys } from '../../keys/escrow-key.ts';
import { draftRootFile, readSignedRoot, signRootFile } from '../../keys/next-root.ts';
import type { RootChange } from '../../keys/root-difference.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { addCommand, addGroup, collectValues, type Finish, type Outcome, onRun } from '../command.ts';
import type { Output } from '../output.ts';
import { passphraseSource } from '../passphrase-source.ts';
import { demandNewFile, writeNewFile } from '../secret-file.ts';
import { metadataOfServer } from '../server-metadata.ts';
import { withServer } from '../session.ts';

interface DraftOptions {
  readonly metadata: string;
  readonly escrowKey: readonly string[];
  readonly escrow: boolean;
  readonly out: string;
}

interface SignOptions {
  readonly metadata: string;
  readonly key: string;
  readonly root?: string;
  readonly passphraseFile?: string;
}

function sayChanges(out: Output, changes: readonly RootChange[]): void {
  out.table(changes.map(({ what, detail }) => [`  ${what}`, detail]));
}

async function draft(out: Output, options: DraftOptions): Promise<Outcome> {
  if (options.escrowKey.length > 0 === !options.escrow) {
    throw new Fault({
      code: 'escrow-owners-wrong',
      what: 'say who the owners are from now on: all of them, or none',
      where: '--escrow-key, --no-escrow',
      cure: 'Give --escrow-key once for each owner of the next root, or --no-escrow.',
      exitStatus: EXIT.usage,
    });
  }
  await demandNewFile(options.out);
  const owners = await readOwnerPublicKeys(options.escrowKey);
  const { bytes, root, changes } = await draftRootFile(options.metadata, owners, Math.floor(Date.now() / 1000));
  await writeNewFile(options.out, bytes, 0o644);
  out.environment(root.holdfast.environment);
  out.say(`Root ${root.version}, signed by nobody yet, is in ${resolve(options.out)}. It changes:`);
  sayChanges(out, changes);
  out.next(
    `holdfast keys root sign ${options.out} --metadata ${options.metadata} --key person-N/root.key   (each person)`,
  );
  return { document: { path: resolve(options.out), version: root.version, changes } };
}

async function sign(out: Output, options: SignOptions, path: string): Promise<Outcome> {
  const state = await signRootFile({
    path,
    metadata: options.metadata,
    keyPath: options.key,
    ...(options.root === undefined ? {} : { anchorPath: options.root }),
    passphraseFor: passphraseSource(options.passphraseFile, false),
    onChanges(root, changes, key) {
      out.environment(root.holdfast.environment);
      out.say(`Signing root ${root.version} as ${key.person} (${key.keyId.slice(0, 16)}…). It changes:`);
      sayChanges(out, changes);
    },
  });
  const { root, changes, keyId, added, signatures, threshold, complete } = state;
  out.say(added ? `Signed: ${signatures} signatures, and ${threshold} are needed.` : 'This key had signed before.');
  if (complete) out.next(`holdfast keys root publish ${path} --metadata ${options.metadata}`);
  else out.next(`holdfast keys root sign ${path} --metadata ${options.metadata} --key person-N/root.key`);
  return { document: { path, version: root.version, changes, keyId, added, signatures, threshold, complete } };
}

async function publish(out: Output, options: { readonly metadata: string }, path: string): Promise<Outcome> {
  const { root, text } = await readSignedRoot(path, options.metadata);
  return withServer(out, async ({ api, profile }) => {
    const { targetsBytes } = await metadataOfServer(api, profile, undefined);
    const answer = await api.publish({ roots: [text], targets: new TextDecoder().decode(targetsBytes) });
    out.say(
      `Root ${root.version} is published. Devices take it with the next release, or before they rotate, and seal to its owners from then on.`,
    );
    out.next(
      `cp ${path} ${options.metadata}/${root.version}.root.json`,
      'holdfast credentials rotate --all   (what was sealed before opens with the former keys until then)',
    );
    return { document: { version: root.version, ...answer } };
  });
}

export function addKeysRootCommands(keys: Command, finish: Finish): void {
  const group = addGroup(keys, 'root', 'the next version of the signed root: who the owners are');
  const draftCommand = addCommand(group, {
    usage: 'draft',
    summary: 'draft the next root with other owners; signs nothing',
    details:
      'Name every owner of the next root, those who stay as well. Whoever is left out opens nothing that is sealed from then on;\n' +
      'what was sealed before, they can open until the devices have rotated.',
    examples: [
      'holdfast keys root draft --metadata ceremony/public --escrow-key bob.escrow-key.pub --escrow-key eve.escrow-key.pub --out 2.root.json',
    ],
  })
    .requiredOption('--metadata <FOLDER>', 'the roots that stand, from the first on: public/ of the ceremony')
    .option('--escrow-key <FILE>', 'public key of an owner; once for each', collectValues, [])
    .option('--no-escrow', 'no owners from now on: nobody can be let into a device that lost its own')
    .requiredOption('--out <FILE>', 'the draft');
  onRun<DraftOptions>(draftCommand, finish, draft);
  const signCommand = addCommand(group, {
    usage: 'sign FILE',
    summary: 'sign a drafted root, after a look at all that it changes',
    examples: ['holdfast keys root sign 2.root.json --metadata ceremony/public --key person-1/root.key'],
  })
    .requiredOption('--metadata <FOLDER>', 'the roots that stand, from the first on')
    .requiredOption('--key <FILE>', 'root.key of one person')
    .option('--root <FILE>', 'a root that you trust; default: 1.root.json beside the key')
    .option('--passphrase-file <FILE>', 'file with the passphrase of the key; else the terminal asks');
  onRun<SignOptions>(signCommand, finish, (out, options, path = '') => sign(out, options, path));
  const publishCommand = addCommand(group, {
    usage: 'publish FILE',
    summary: 'give a root that enough people signed to the server',
    examples: ['holdfast keys root publish 2.root.json --metadata ceremony/public'],
  }).requiredOption('--metadata <FOLDER>', 'the roots that stand, from the first on');
  onRun<{ metadata: string }>(publishCommand, finish, (out, options, path = '') => publish(out, options, path));
}
