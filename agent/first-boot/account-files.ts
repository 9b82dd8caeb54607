/**
 * /etc/passwd, shadow, group and gshadow as text: read, and rebuilt from the image's so that nobody gets in with what the
 * image brought. Pure. Sources: passwd(5), shadow(5), gshadow(5) of shadow-utils.
 *
 * Invariants: a password field that comes out is locked or one that was chosen here, never empty, never the image's;
 * rebuilding what was rebuilt changes nothing; every other field of a line stays as it is.
 */

/** As in the image, or of the device's own making. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
}

export interface ChosenPassword {
  readonly hash: string;
  /** Days since 1970, or null while no clock told. */
  readonly lastChangeDays: number | null;
}

/** `*`, not `!`: sshd without PAM takes `!` for an account that may not log in with a key either. */
const LOCKED = '*';
const IS_LOCKED = /^[!*]+$/;

export function decodePasswd(text: string): Account[] {
  return entriesOf(text).flatMap(([name = '', , uid = '', gid = '', , home = '', shell = '']) =>
    /^\d+$/.test(uid) && /^\d+$/.test(gid) ? [{ name, uid: Number(uid), gid: Number(gid), home, shell }] : [],
  );
}

/** Password fields by account; of an account that stands twice, the first, as libc reads it. */
export function decodeShadow(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const [name = '', field = ''] of entriesOf(text)) if (!fields.has(name)) fields.set(name, field);
  return fields;
}

export function isLocked(field: string | undefined): boolean {
  return field !== undefined && IS_LOCKED.test(field);
}

/** A password or none in /etc/passwd itself counts before shadow: it goes there. */
export function rebuildPasswd(image: string): string {
  return rebuild(image, (fields) => (fields[1] === 'x' || isLocked(fields[1]) ? fields : withField(fields, 1, 'x')));
}

/** Every account of `passwd` has a line; all are locked but the chosen ones. */
export function rebuildShadow(image: string, passwd: string, chosen: ReadonlyMap<string, ChosenPassword>): string {
  const known = decodeShadow(image);
  const missing = decodePasswd(passwd).filter(({ name }) => !known.has(name));
  const whole = [...linesOf(image), ...missing.map(({ name }) => `${name}:${LOCKED}:::::::`)];
  return rebuild(whole.join('\n'), (fields) => {
    const password = chosen.get(fields[0] ?? '');
    if (password === undefined) return isLocked(fields[1]) ? fields : withField(fields, 1, LOCKED);
    return withField(withField(fields, 1, password.hash), 2, String(password.lastChangeDays ?? ''));
  });
}

/** group and gshadow: an empty field there lets nobody in, a hash lets in whoever knows it. */
export function rebuildGroups(image: string): string {
  return rebuild(image, (fields) =>
    fields[1] === '' || fields[1] === 'x' || isLocked(fields[1]) ? fields : withField(fields, 1, LOCKED),
  );
}

function rebuild(text: string, change: (fields: string[]) => string[]): string {
  const lines = linesOf(text).map((line) => (line.startsWith('#') ? line : change(line.split(':')).join(':')));
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

function withField(fields: string[], at: number, value: string): string[] {
  const changed = [...fields];
  while (changed.length <= at) changed.push('');
  changed[at] = value;
  return changed;
}

function entriesOf(text: string): string[][] {
  return linesOf(text)
    .filter((line) => !line.startsWith('#'))
    .map((line) => line.split(':'));
}

function linesOf(text: string): string[] {
  return text.split('\n').filter((line) => line.trim() !== '');
}
