/**
 * A private sshd, asked by the real ssh client: are these passwords accepted, which host keys are shown, which files of
 * authorized keys are read. It runs before anything opens, and nothing listens: ssh starts `sshd -i` itself and speaks to
 * it through a pipe (ProxyCommand), so there is no port, whatever the firewall and the network do.
 *
 * It has a configuration of its own, laxer than any: root and empty passwords may try. What it refuses, no sshd of this
 * device accepts. Host keys and PAM are the system's. A login that succeeds runs `exit 0` and nothing else.
 * May not: see a secret in an argument or an environment; passwords go in files, 0600, in a folder, 0700, in memory.
 */
import { randomBytes } from 'node:crypto';
import { access, constants, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { askProgram, type ProgramEnd } from '../boards/board-program.ts';

/** pam_fail_delay makes each refusal take seconds: so many connections wait at the same time, ... */
const AT_ONCE = 8;
/** ... and each tries so many passwords, for a key exchange is what costs a small processor most. */
const TRIES_A_CONNECTION = 5;
const CONNECTION_DEADLINE_MS = 100_000;
/** Of deadlines that one connection alone may have. */
const MOST_PATIENCE = 8;
const HOST = 'holdfast-private';
const OTHERS_CONFIG = 'config-for-others';
/** The package's (agent/systemd/first-boot/askpass): ssh starts it for every password, so it is small. */
const PACKAGED_ASKPASS = '/usr/lib/holdfast/first-boot/askpass';
/**
 * Where the package is not installed, Node itself is the askpass program, with this loaded first: a script of ours could
 * lie where nothing may be executed. It does the same: says the first line of a file, and takes it out.
 */
const ASKPASS = `const fs = process.getBuiltinModule('node:fs');
const [line, ...rest] = fs.readFileSync(process.env.HOLDFAST_TRY_FILE, 'utf8').split('\\n');
fs.writeFileSync(process.env.HOLDFAST_TRY_FILE, rest.join('\\n'));
fs.writeSync(1, line + '\\n');
process.exit(0);
`;

export interface LoginTry {
  readonly user: string;
  readonly password: string;
}

export interface TryResult {
  readonly accepted: readonly LoginTry[];
  /** What went wrong where sshd neither accepted nor refused. */
  readonly unclear: string | undefined;
}

interface Unclear {
  readonly unclear: string;
  /** It was ended before it had asked for these. */
  readonly left: readonly LoginTry[] | undefined;
}

export class PrivateSshd {
  readonly #sshd: string;
  readonly #folder: string;
  readonly #askpass: Readonly<Record<string, string>>;
  readonly #deadlineMs: number;
  /** What is not as the real one, to be told. */
  readonly detail: string | undefined;

  private constructor(
    sshd: string,
    folder: string,
    { askpass, deadlineMs }: { readonly askpass: string | undefined; readonly deadlineMs: number },
    detail: string | undefined,
  ) {
    this.#sshd = sshd;
    this.#folder = folder;
    this.#deadlineMs = deadlineMs;
    this.#askpass =
      askpass === undefined
        ? { SSH_ASKPASS: process.execPath, NODE_OPTIONS: `--require=${join(folder, 'askpass.cjs')}` }
        : { SSH_ASKPASS: askpass };
    this.detail = detail;
  }

  /**
   * Undefined, with why, where sshd or ssh is not installed or may not be run. The caller closes it. `askpass`: used where
   * it may be executed. `deadlineMs`: for each connection.
   */
  static async open(
    scratchDirectory: string,
    askpass = PACKAGED_ASKPASS,
    deadlineMs = CONNECTION_DEADLINE_MS,
  ): Promise<PrivateSshd | { readonly missing: string }> {
    if (process.getuid?.() !== 0) return { missing: 'sshd was not asked: this is not root' };
    const sshd = await programAt('sshd');
    if (sshd === undefined || (await programAt('ssh')) === undefined) {
      return { missing: 'sshd was not asked: sshd or ssh is not installed' };
    }
    const settings = await askSshdSettings();
    if (settings === undefined) return { missing: 'sshd was not asked: sshd -T does not read its configuration' };
    const folder = join(scratchDirectory, `sshd-${randomBytes(8).toString('hex')}`);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const isBooting = (await isThere('/run/nologin')) || (await isThere('/etc/nologin'));
    const pam = settings.get('usepam')?.[0] === 'yes';
    await writeFile(join(folder, 'config'), configOf(settings, pam), { mode: 0o600 });
    // pam_nologin refuses everybody but root while the system starts: that would prove nothing.
    await writeFile(join(folder, OTHERS_CONFIG), configOf(settings, pam && !isBooting), { mode: 0o600 });
    await writeFile(join(folder, 'askpass.cjs'), ASKPASS, { mode: 0o600 });
    const detail =
      pam && isBooting ? 'for accounts other than root sshd was asked without PAM: nologin stands' : undefined;
    const how = { askpass: (await mayExecute(askpass)) ? askpass : undefined, deadlineMs };
    return new PrivateSshd(sshd, folder, how, detail);
  }

  /**
   * Tries each, in order and for one user one after the other, up to the first that is accepted. Bounded: by AT_ONCE, and
   * by a deadline for each connection. A board that is too slow for so many at a time is asked with fewer: what a connection
   * had no time for is tried again. Only where one alone gets nowhere, and then in eight times as long, is it unclear.
   */
  async tryPasswords(tries: readonly LoginTry[]): Promise<TryResult> {
    const waiting = batchesOf(tries);
    const accepted: LoginTry[] = [];
    let unclear: string | undefined;
    let number = 0;
    let working = AT_ONCE;
    let patience = 1;
    const work = async (): Promise<void> => {
      for (let next = waiting.shift(); next !== undefined && unclear === undefined; next = waiting.shift()) {
        number += 1;
        const answer = await this.#tryBatch(number, next, patience * this.#deadlineMs);
        if (answer === 'refused') continue;
        if ('user' in answer) {
          accepted.push(answer);
          continue;
        }
        const { left } = answer;
        const isStuck = working === 1 && left?.length === next.length;
        if (left === undefined || (isStuck && patience >= MOST_PATIENCE)) {
          unclear ??= answer.unclear;
          continue;
        }
        waiting.push(left);
        if (isStuck) patience *= 2;
        // Whoever still works comes to it.
        if (working > 1) break;
      }
      working -= 1;
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    return { accepted, unclear };
  }

  /** Is a key of this algorithm shown, and is it one of these lines (`type base64`)? */
  async shows(algorithm: string, keys: readonly string[]): Promise<'these' | 'others' | 'none' | { unclear: string }> {
    const file = join(this.#folder, `known_hosts-${algorithm}`);
    await writeFile(file, keys.map((key) => `${HOST} ${key}\n`).join(''), { mode: 0o600 });
    const options = [`HostKeyAlgorithms=${algorithm}`, `UserKnownHostsFile=${file}`, 'StrictHostKeyChecking=yes'];
    const end = await this.#ssh('root', [...options, 'PreferredAuthentications=none']);
    if (/no matching host key type/i.test(end.said)) return 'none';
    if (/Host key verification failed|No \S+ host key is known/i.test(end.said)) return 'others';
    return /Permission denied|Authenticated to/.test(end.said) ? 'these' : { unclear: end.said };
  }

  async close(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** One connection: the passwords of one user, one after the other. */
  async #tryBatch(
    number: number,
    batch: readonly LoginTry[],
    deadlineMs: number,
  ): Promise<LoginTry | 'refused' | Unclear> {
    const file = join(this.#folder, `try-${number}`);
    await writeFile(file, batch.map(({ password }) => `${password}\n`).join(''), { mode: 0o600 });
    try {
      // Whose key it shows is another question: this is a pipe to a process that was just started.
      const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'PreferredAuthentications=password'];
      options.push(`NumberOfPasswordPrompts=${batch.length}`);
      const user = batch[0]?.user ?? '';
      const { status, said } = await this.#ssh(user, options, { tryFile: file, deadlineMs });
      const taken = batch.length - (await readFile(file, 'utf8')).split('\n').length + 1;
      // Let in before any was asked for: the account has an empty password.
      if (/Authenticated to/.test(said)) return batch[taken - 1] ?? { user, password: '' };
      if (/Permission denied \(/.test(said) && taken === batch.length) return 'refused';
      // The next is asked for when the one before was refused; the last that was given may be without an answer.
      return { unclear: said, left: status === null ? batch.slice(Math.max(0, taken - 1)) : undefined };
    } finally {
      await rm(file, { force: true });
    }
  }

  async #ssh(
    user: string,
    more: readonly string[],
    { tryFile = '/dev/null', deadlineMs = this.#deadlineMs }: { tryFile?: string; deadlineMs?: number } = {},
  ): Promise<ProgramEnd> {
    const proxy = `${this.#sshd} -i -f ${join(this.#folder, user === 'root' ? 'config' : OTHERS_CONFIG)}`;
    const options = [...more, `ProxyCommand=${proxy}`, 'GlobalKnownHostsFile=/dev/null', 'UpdateHostKeys=no'];
    options.push('LogLevel=VERBOSE', 'PubkeyAuthentication=no');
    const words = ['-F', 'none', ...options.flatMap((option) => ['-o', option]), '-T', '-l', user, HOST, 'true'];
    const environment = {
      ...this.#askpass,
      SSH_ASKPASS_REQUIRE: 'force',
      HOLDFAST_TRY_FILE: tryFile,
    };
    const end = await askProgram('ssh', words, { deadlineMs, environment });
    return end ?? { status: null, stdout: '', said: 'ssh cannot be started' };
  }
}

/** So many of one user in a row. */
function batchesOf(tries: readonly LoginTry[]): (readonly LoginTry[])[] {
  const batches: LoginTry[][] = [];
  for (const one of tries) {
    const last = batches.at(-1);
    if (last === undefined || last[0]?.user !== one.user || last.length >= TRIES_A_CONNECTION) batches.push([one]);
    else last.push(one);
  }
  return batches;
}

type SshdSettings = ReadonlyMap<string, readonly string[]>;

/** `sshd -T`: what the system's sshd would do, for one user with its Match blocks. Undefined where it cannot be asked. */
export async function askSshdSettings(user?: string): Promise<SshdSettings | undefined> {
  const sshd = await programAt('sshd');
  if (sshd === undefined) return undefined;
  const words = user === undefined ? ['-T'] : ['-T', '-C', `user=${user},host=localhost,addr=127.0.0.1`];
  let end = await askProgram(sshd, words);
  // sshd does not start without its empty folder, which its unit makes; and that has not run yet.
  const folder = /Missing privilege separation directory: (\/\S+)/.exec(end?.said ?? '')?.[1];
  if (folder !== undefined) {
    await mkdir(folder, { recursive: true, mode: 0o755 });
    end = await askProgram(sshd, words);
  }
  if (end?.status !== 0) return undefined;
  const settings = new Map<string, string[]>();
  for (const line of end.stdout.split('\n')) {
    const [name = '', ...values] = line.trim().split(' ');
    settings.set(name, [...(settings.get(name) ?? []), ...values]);
  }
  return settings;
}

function configOf(settings: SshdSettings, pam: boolean): string {
  const lines = (settings.get('hostkey') ?? []).map((path) => `HostKey ${path}`);
  lines.push(`UsePAM ${pam ? 'yes' : 'no'}`, 'PasswordAuthentication yes', 'KbdInteractiveAuthentication no');
  lines.push(
    'PubkeyAuthentication no',
    'PermitRootLogin yes',
    'PermitEmptyPasswords yes',
    `MaxAuthTries ${2 * TRIES_A_CONNECTION}`,
  );
  lines.push(
    'ForceCommand exit 0',
    'DisableForwarding yes',
    'PermitTTY no',
    'PermitUserRC no',
    'PermitUserEnvironment no',
  );
  lines.push(
    `LoginGraceTime ${(MOST_PATIENCE * CONNECTION_DEADLINE_MS) / 1000}`,
    'PidFile none',
    'UseDNS no',
    'PrintMotd no',
    'PrintLastLog no',
    'LogLevel QUIET',
  );
  return `${lines.join('\n')}\n`;
}

async function programAt(name: string): Promise<string | undefined> {
  for (const folder of ['/usr/sbin', '/usr/bin', '/sbin', '/bin', '/usr/local/sbin', '/usr/local/bin']) {
    if (await isThere(join(folder, name))) return join(folder, name);
  }
  return undefined;
}

function mayExecute(path: string): Promise<boolean> {
  return isThere(path, constants.X_OK);
}

async function isThere(path: string, mode = constants.F_OK): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}
