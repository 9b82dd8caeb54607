/** `holdfast escrow key`: the keys of owners, to which devices seal what may be needed one day. Offline. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { makeEscrowKey, OWNER_NAME, ownerLine, readEscrowKey } from '../../keys/escrow-key.ts';
import { demandStrength } from '../../keys/passphrase.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { addCommand, addGroup, type Finish, type Outcome, onRun } from '../command.ts';
import type { Output } from '../output.ts';
import { passphraseSource } from '../passphrase-source.ts';
import { demandNewFile, demandNewSecretFile, writeNewFile } from '../secret-file.ts';

interface NewOptions {
  readonly out?: string;
  readonly passphraseFile?: string;
}

async function makeNew(out: Output, options: NewOptions, owner: string): Promise<Outcome> {
  if (!OWNER_NAME.test(owner)) {
    throw new Fault({
      code: 'owner-name-malformed',
      what: `'${owner}' is not a name for an owner`,
      where: 'NAME',
      cure: 'Use 1 to 64 of a-z 0-9 . _ - beginning with a letter or digit: ann, safe-basel.',
      exitStatus: EXIT.usage,
    });
  }
  const path = resolve(options.out ?? `${owner}.escrow-key`);
  const publicPath = `${path}.pub`;
  await demandNewSecretFile(path);
  await demandNewFile(publicPath);
  const passphrase = await passphraseSource(options.passphraseFile, true)(owner);
  try {
    demandStrength(passphrase);
    const { content, file } = await makeEscrowKey(owner, passphrase);
    await writeNewFile(path, content);
    const line = ownerLine(file);
    await writeNewFile(publicPath, Buffer.from(`${line}\n`, 'utf8'), 0o644);
    out.say(`The key of ${owner}, encrypted: ${path}`);
    out.say(`Its public half, for whoever makes the root: ${publicPath}`);
    out.say();
    out.say(line);
    out.say();
    out.say('Back the key up, and keep passphrase and key apart: with it gone, what was sealed to it alone is gone.');
    out.next(
      `holdfast keys init … --escrow-key ${publicPath} --escrow-key OTHER.pub   (a new fleet: at least two owners)`,
      `holdfast keys root draft … --escrow-key ${publicPath} --escrow-key OTHER.pub   (a fleet that runs)`,
    );
    return { document: { path, publicPath, owner, keyId: file.keyId, publicKey: file.publicKey } };
  } finally {
    passphrase.wipe();
  }
}

async function show(out: Output, path: string): Promise<Outcome> {
  const { ciphertext: _sealed, ...key } = await readEscrowKey(path);
  out.table([
    ['key', path],
    ['owner', key.owner],
    ['key id', key.keyId],
    ['public key', key.publicKey],
    ['encrypted with', `${key.kdf.name} N=${key.kdf.N} r=${key.kdf.r} p=${key.kdf.p}, ${key.cipher.name}`],
  ]);
  out.say();
  out.say(ownerLine(key));
  return { document: { key } };
}

export function addEscrowKeyCommands(escrow: Command, finish: Finish): void {
  const group = addGroup(escrow, 'key', "make and look at owners' keys (offline)");
  const newCommand = addCommand(group, {
    usage: 'new NAME',
    summary: 'make the key of an owner: X25519, encrypted with a passphrase',
    details:
      'Devices seal their break-glass secrets to the owners that the signed root names. Make one key on the machine of each\n' +
      'owner; only the public half leaves it.',
    examples: [
      'holdfast escrow key new ann',
      'holdfast escrow key new safe-basel --out /media/usb/safe-basel.escrow-key',
    ],
  })
    .option('--out <FILE>', 'where the key goes; outside of every git repository (default NAME.escrow-key)')
    .option('--passphrase-file <FILE>', 'the passphrase; else the terminal asks');
  onRun<NewOptions>(newCommand, finish, (out, options, owner = '') => makeNew(out, options, owner));
  const showCommand = addCommand(group, {
    usage: 'show FILE',
    summary: "show an owner's key file and its public key; asks for no passphrase",
    examples: ['holdfast escrow key show ann.escrow-key'],
  });
  onRun(showCommand, finish, (out, _options, path = '') => show(out, path));
}
