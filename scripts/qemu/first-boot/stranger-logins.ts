/**
 * A stranger at the device's own sshd, over TCP: the passwords that everybody tries, the key that the factory put into
 * every device, and a look at which host keys it shows. With the real ssh client, as an attacker has it.
 */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FACTORY_PAIRS } from '../../../protocol/factory-pairs.ts';
import { type ProgramResult, runProgram } from '../../programs.ts';

/** sshd gives up on a connection after six; each refusal takes PAM two seconds, so a few wait at a time. */
const TRIES_A_CONNECTION = 5;
const AT_ONCE = 4;
const DEADLINE_MS = 300_000;
/** Of connections that are begun together QEMU sometimes leaves one lying until it is closed. */
const TIMES_AT_MOST = 3;
const KEY_TYPES = ['ed25519', 'ecdsa', 'rsa'];
/** Takes the first line of a file out of it, and says it. */
const ASKPASS = '#!/bin/sh\nhead -n 1 "$TRY_FILE"\nsed -i 1d "$TRY_FILE"\n';
const QUIET = [
  ...['-F', '/dev/null', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
  ...['-o', 'ConnectTimeout=60', '-o', 'LogLevel=INFO'],
];

export interface Tried {
  readonly passwords: number;
  /** `user` or `user:password` of what let the stranger in. */
  readonly accepted: readonly string[];
  /** What ended neither in a login nor in a refusal. */
  readonly unclear: readonly string[];
}

export interface Login {
  readonly user: string;
  readonly password: string;
}

/** What one door answers: `accepted`, `refused`, or what else happened. */
export async function tryEach(
  logins: readonly Login[],
  askers: readonly ((login: Login) => Promise<string>)[],
): Promise<Tried> {
  const tried = { passwords: logins.length, accepted: [] as string[], unclear: [] as string[] };
  const work = logins.values();
  const askAll = async (ask: (login: Login) => Promise<string>): Promise<void> => {
    for (const login of work) {
      const said = await ask(login);
      if (said === 'accepted') tried.accepted.push(login.user);
      else if (said !== 'refused') tried.unclear.push(`${login.user}: ${said}`);
    }
  };
  await Promise.all(askers.map(askAll));
  return tried;
}

export class Stranger {
  readonly #port: number;
  readonly #folder: string;

  private constructor(port: number, folder: string) {
    this.#port = port;
    this.#folder = folder;
  }

  /** `folder` is made. */
  static async at(port: number, folder: string): Promise<Stranger> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFile(join(folder, 'askpass'), ASKPASS);
    await chmod(join(folder, 'askpass'), 0o700);
    return new Stranger(port, folder);
  }

  /** The whole list, or these. */
  async triesPasswords(pairs: readonly Login[] = FACTORY_PAIRS): Promise<Tried> {
    const byUser = Map.groupBy(pairs, ({ user }) => user);
    const batches: { user: string; passwords: string[] }[] = [];
    for (const [user, own] of byUser) {
      const passwords = own.map(({ password }) => password);
      for (let at = 0; at < passwords.length; at += TRIES_A_CONNECTION)
        batches.push({ user, passwords: passwords.slice(at, at + TRIES_A_CONNECTION) });
    }
    const tried = { passwords: pairs.length, accepted: [] as string[], unclear: [] as string[] };
    const work = batches.entries();
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        for (const [index, { user, passwords }] of work) {
          const said = await this.#tries(`try-${index}`, user, passwords);
          if (said === 'accepted') tried.accepted.push(passwords.length === 1 ? `${user}:${passwords[0]}` : user);
          else if (said !== 'refused') tried.unclear.push(said);
        }
      }),
    );
    return tried;
  }

  /** What a command says to whoever has this password; undefined where it lets nobody in, or the command fails. */
  async runs(user: string, password: string, command: string): Promise<string | undefined> {
    const { stdout, status } = await this.#withPasswords('run', user, [password], command);
    return status === 0 ? stdout : undefined;
  }

  async triesKey(user: string, keyFile: string): Promise<string> {
    const words = ['-i', keyFile, '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes'];
    return judgedLogin(await askSsh(this.#words(words, user)));
  }

  /** `type base64` of each host key that is shown. */
  async hostKeys(): Promise<readonly string[]> {
    const keys: string[] = [];
    for (const type of KEY_TYPES) keys.push(...(await this.#hostKeysOf(type)));
    return keys;
  }

  /** ssh-keyscan ends with 1 where there is no such key, and where sshd said nothing at all. */
  async #hostKeysOf(type: string): Promise<string[]> {
    const words = ['-T', '60', '-t', type, '-p', String(this.#port), '127.0.0.1'];
    const isUnheard = ({ stdout, stderr }: ProgramResult): boolean => !`${stdout}\n${stderr}`.includes('SSH-2.0-');
    const result = await askAgain('ssh-keyscan', words, isUnheard);
    if (isUnheard(result)) throw new Error(`sshd does not say its name: ssh-keyscan ${words.join(' ')}`);
    const lines = result.stdout.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    return lines.map((line) => line.split(' ').slice(1, 3).join(' '));
  }

  async #tries(name: string, user: string, passwords: readonly string[]): Promise<string> {
    return judgedLogin(await this.#withPasswords(name, user, passwords));
  }

  async #withPasswords(
    name: string,
    user: string,
    passwords: readonly string[],
    command?: string,
  ): Promise<ProgramResult> {
    const file = join(this.#folder, name);
    await writeFile(file, passwords.map((password) => `${password}\n`).join(''), { mode: 0o600 });
    const words = [
      ...['-o', 'PreferredAuthentications=password,keyboard-interactive', '-o', 'PubkeyAuthentication=no'],
      ...['-o', `NumberOfPasswordPrompts=${passwords.length}`],
    ];
    const env = { SSH_ASKPASS: join(this.#folder, 'askpass'), SSH_ASKPASS_REQUIRE: 'force', TRY_FILE: file };
    return askSsh(this.#words(words, user, command), env);
  }

  #words(words: readonly string[], user: string, command = 'exit 0'): string[] {
    return [...QUIET, ...words, '-p', String(this.#port), `${user}@127.0.0.1`, command];
  }
}

const askSsh = (words: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<ProgramResult> =>
  askAgain('ssh', words, ({ stderr }) => /timed out during banner exchange/.test(stderr), env);

/** Again where the connection got as far as QEMU and no further; nothing was asked of sshd then. */
async function askAgain(
  program: string,
  words: readonly string[],
  isUnheard: (result: ProgramResult) => boolean,
  env: Readonly<Record<string, string>> = {},
): Promise<ProgramResult> {
  for (let times = 1; ; times += 1) {
    const result = await runProgram(program, words, { env, signal: AbortSignal.timeout(DEADLINE_MS) });
    if (times === TIMES_AT_MOST || !isUnheard(result)) return result;
  }
}

/** What ssh says of a login with `exit 0` behind it: `accepted`, `refused`, or its last words. */
export function judgedLogin({ status, stderr }: { readonly status: number; readonly stderr: string }): string {
  if (status === 0) return 'accepted';
  // Who got in and may do nothing got in.
  if (/This account is currently not available/.test(stderr)) return 'accepted';
  if (/Permission denied|Too many authentication failures/.test(stderr)) return 'refused';
  return stderr.trim().split('\n').at(-1) ?? `status ${status}`;
}
