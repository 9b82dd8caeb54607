/** Accounts: passwords that are empty, well known or shared, user ids of root, and who can read the hashes. */
import { FACTORY_PAIRS } from '../../../protocol/factory-pairs.ts';
import { testHash } from '../crypt.ts';
import type { Report } from '../findings.ts';
import type { TreeView } from '../tree.ts';

/** Hostile files have many lines. */
const ACCOUNTS_AT_MOST = 500;
const HASHES_AT_MOST = 32;
const OTHER_SHADOW = /(^|\/)shadow-?$/;
const OTHERS_AT_MOST = 16;
const SHADOW_FIELDS = 9;
const NO_LOGIN = /\/(nologin|false|sync|true)$/;

interface Account {
  readonly user: string;
  readonly password: string;
  readonly path: string;
  readonly line: number;
  /** In its line. */
  readonly fields: number;
}

export async function checkAccounts(view: TreeView, report: Report): Promise<void> {
  const passwd = readAccounts(view, 'etc/passwd');
  const shadow = readAccounts(view, 'etc/shadow');
  const shells = shellsOf(view);
  checkIds(view, report);
  checkShadowMode(view, report);
  const shadowed = new Set(shadow.map(({ user }) => user));
  // `x` leads to /etc/shadow; anything else in /etc/passwd is the hash itself, and an empty field needs no password.
  const own = passwd.filter(({ user, password }) => password !== 'x' || !shadowed.has(user));
  await checkPasswords([...own.filter(({ password }) => password !== 'x'), ...shadow], shells, report);
}

/** Other files of that name: the backup that tools leave, and the upper layer of an overlay on a data partition. */
export async function checkOtherShadows(view: TreeView, report: Report): Promise<void> {
  const others = view.files().filter(({ path }) => OTHER_SHADOW.test(path) && path !== 'etc/shadow');
  const accounts = others.slice(0, OTHERS_AT_MOST).flatMap(({ path }) => readAccounts(view, path));
  const shaped = accounts.filter(({ fields }) => fields === SHADOW_FIELDS);
  await checkPasswords(shaped, new Map(), report);
}

async function checkPasswords(
  accounts: readonly Account[],
  shells: ReadonlyMap<string, string>,
  report: Report,
): Promise<void> {
  let hashes = 0;
  for (const account of accounts) {
    if (account.password === '') {
      report('password-empty', account.path, emptyWords(account.user, shells.get(account.user)), account.line);
      if (account.user === 'root') report('root-unlocked', account.path, 'root needs no password', account.line);
    } else if (isHash(account.password)) {
      hashes += 1;
      if (hashes <= HASHES_AT_MOST) await checkHash(account, report);
      else report('password-untested', account.path, `${HASHES_AT_MOST} hashes are tested at most`, account.line);
    }
  }
}

function readAccounts(view: TreeView, path: string): Account[] {
  return view.lines(path).flatMap((text, index) => {
    const [user = '', password, ...rest] = text.split(':');
    if (password === undefined || user === '' || /^[#+-]/.test(user) || index >= ACCOUNTS_AT_MOST) return [];
    return [{ user, password, path, line: index + 1, fields: 2 + rest.length }];
  });
}

function shellsOf(view: TreeView): Map<string, string> {
  return new Map(
    view.lines('etc/passwd').map((text) => {
      const fields = text.split(':');
      return [fields[0] ?? '', fields[6] ?? ''] as const;
    }),
  );
}

function emptyWords(user: string, shell: string | undefined): string {
  const note =
    shell !== undefined && NO_LOGIN.test(shell) ? `; its shell is ${shell}, but other services log in without one` : '';
  return `${user} has an empty password${note}`;
}

function isHash(password: string): boolean {
  return !/^[!*]/.test(password) && password.length >= 13;
}

/** What is tried against each hash: passwords for this user first, then all others, the name itself, and nothing. */
function passwordsFor(user: string): string[] {
  const own = FACTORY_PAIRS.filter((pair) => pair.user === user).map(({ password }) => password);
  const all = FACTORY_PAIRS.map(({ password }) => password);
  return [...new Set([...own, user, '', ...all, `${user}${user}`, `${user}123`])];
}

async function checkHash({ user, password: hash, path, line }: Account, report: Report): Promise<void> {
  const tested = await testHash(hash, passwordsFor(user));
  if (tested.kind === 'fits' && tested.password === '') {
    report('password-empty', path, `${user} has the hash of an empty password`, line);
  } else if (tested.kind === 'fits') {
    report('password-default', path, `${user} has the well-known password '${tested.password}'`, line);
  } else if (tested.kind === 'untested') {
    report('password-untested', path, `the hash of ${user} could not be tested`, line);
  } else if (user !== 'root') {
    report('password-shared', path, `${user} has a password in the image`, line);
  }
  if (user === 'root') report('root-unlocked', path, 'root has a password in the image', line);
}

function checkIds(view: TreeView, report: Report): void {
  for (const [index, text] of view.lines('etc/passwd').entries()) {
    const [user = '', , uid] = text.split(':');
    if (uid !== undefined && /^0+$/.test(uid) && user !== 'root' && !user.startsWith('#')) {
      report('uid-zero', 'etc/passwd', `${user} has user id 0`, index + 1);
    }
  }
}

function checkShadowMode(view: TreeView, report: Report): void {
  for (const path of ['etc/shadow', 'etc/shadow-', 'etc/gshadow', 'etc/gshadow-']) {
    const entry = view.resolve(path);
    if (entry?.mode !== undefined && (entry.mode & 0o004) !== 0) {
      report('shadow-readable', path, `its mode is ${entry.mode.toString(8)}`);
    }
  }
}

/** Raspberry Pi OS makes the account of `userconf.txt` on the boot partition: a line `user:hash`. */
export async function checkUserConfiguration(view: TreeView, report: Report): Promise<void> {
  for (const path of ['userconf.txt', 'userconf', 'boot/userconf.txt', 'boot/firmware/userconf.txt']) {
    for (const account of readAccounts(view, path)) {
      if (account.password === '')
        report('password-empty', path, `${account.user} has an empty password`, account.line);
      else if (isHash(account.password)) await checkHash(account, report);
    }
  }
}
