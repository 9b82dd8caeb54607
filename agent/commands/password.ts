/**
 * `password`: a person at the device, as root, gives an account a password of their own. Only on a device that is open:
 * before that, the first boot is about to write the same files.
 */
import { nodeDisk } from '../../platform/disk.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { MAX_CREDENTIALS } from '../../protocol/credentials.ts';
import { hasReached } from '../../protocol/device-api.ts';
import type { CommandOptions } from '../command-options.ts';
import { type AgentConfig, readConfig } from '../config.ts';
import { firstBootConfigOf } from '../first-boot/first-boot-config.ts';
import { firstBootDirectory, firstBootRecord } from '../first-boot/first-boot-record.ts';
import { readInventory, writeInventory } from '../first-boot/inventory-file.ts';
import { worldOfMachine } from '../first-boot/machine-world.ts';
import { UnixPasswords } from '../first-boot/providers/unix-passwords.ts';
import { kernelSecrets } from '../first-boot/secret-source.ts';
import { secretFromStdin, secretFromTerminal } from '../typed-secret.ts';

export async function passwordCommand({ config: path, user = '', stdin, json }: CommandOptions): Promise<number> {
  const config = await readConfig(nodeDisk, path);
  const firstBoot = firstBootConfigOf(config);
  demandRoot(config);
  const directory = firstBootDirectory(config.dataDirectory);
  await demandOpen(directory);
  const { unixPasswords } = firstBoot.providers;
  const passwords = new UnixPasswords(await worldOfMachine(config, firstBoot, []), unixPasswords);
  const verdict = await passwords.setByOwner(user, await typedTwice(user, stdin), kernelSecrets());
  if (!verdict.ok) throw refused(verdict.code, verdict.detail);
  await noteIn(directory, passwords);
  const isBreakGlass = unixPasswords.breakGlass === user;
  const until = isBreakGlass ? 'rotation' : 'factory-reset';
  process.stdout.write(json ? `${JSON.stringify({ ok: true, user, until })}\n` : said(user, isBreakGlass));
  return EXIT.ok;
}

function said(user: string, isBreakGlass: boolean): string {
  const lasts = isBreakGlass
    ? 'the sealed password of this account is worthless now; the next rotation makes and seals another, in place of yours'
    : 'it stays through updates and rotations; a factory reset takes it away';
  return `${user} has a password of its owner's\nnote: ${lasts}\nnext: log in with it before you leave this terminal\n`;
}

async function typedTwice(user: string, stdin: boolean): Promise<string> {
  if (stdin) return secretFromStdin();
  const typed = await secretFromTerminal(`New password for ${user}: `);
  if (typed === (await secretFromTerminal('The same again: '))) return typed;
  throw new Fault({
    code: 'passwords-differ',
    what: 'the two are not the same',
    cure: 'Run it again; nothing was changed.',
    exitStatus: EXIT.input,
  });
}

/** What the server hears of it, at its next question. */
async function noteIn(directory: string, passwords: UnixPasswords): Promise<void> {
  const others = (await readInventory(nodeDisk, directory)).filter(({ kind }) => kind !== 'password');
  await writeInventory(nodeDisk, directory, [...(await passwords.inspect()), ...others].slice(0, MAX_CREDENTIALS));
}

function demandRoot({ board }: AgentConfig): void {
  if (process.getuid?.() === 0 || board.kind === 'emulated') return;
  throw new Fault({
    code: 'root-needed',
    what: 'only root gives an account another password',
    cure: 'Run it as root: at the console with the break-glass password, or with sudo.',
    exitStatus: EXIT.environment,
  });
}

async function demandOpen(directory: string): Promise<void> {
  const reading = await firstBootRecord(nodeDisk, directory).read();
  const state = reading.found === 'whole' ? reading.value.state : 'factory';
  if (hasReached(state, 'open')) return;
  throw new Fault({
    code: 'first-boot-not-open',
    what: `the first boot of this device is not done (${state})`,
    where: directory,
    cure: 'See holdfast-agent firstboot --config FILE for what it waits for.',
    exitStatus: EXIT.refused,
  });
}

function refused(code: string, detail: string): Fault {
  return new Fault({
    code,
    what: `this password is not taken: ${detail}`,
    cure: 'Choose 15 characters or more that nobody would guess, such as five random words.',
    exitStatus: EXIT.refused,
  });
}
