/** Who gets in by SSH: keys that are let in, and what sshd's configuration permits, with its includes, in this image. */
import type { Report } from '../findings.ts';
import { type ImageEntry, linesOf, type TreeView } from '../tree.ts';
import { Units } from '../units.ts';

const SSHD_CONFIG = 'etc/ssh/sshd_config';
const INCLUDE_DEPTH_AT_MOST = 16;
const TEXT_CAP_BYTES = 1024 * 1024;
const LINES_AT_MOST = 20_000;
const AUTHORIZED =
  /(^|\/)(\.ssh\/authorized_keys2?|dropbear\/authorized_keys)$|^etc\/ssh\/authorized_keys(\.d)?\/[^/]+$/;
const KEY_LINE = /(^|[\s,"])(ssh-(rsa|dss|ed25519)|ecdsa-sha2-nistp\d+|sk-(ssh|ecdsa)-[a-z0-9@.-]+)\s+AAAA/;

/** Of any volume: a data partition may carry a home. */
export function checkAuthorizedKeys({ path }: ImageEntry, bytes: Buffer, report: Report): void {
  if (!AUTHORIZED.test(path)) return;
  for (const [index, line] of linesOf(bytes.toString('utf8', 0, TEXT_CAP_BYTES)).entries()) {
    if (line.trimStart().startsWith('#') || !KEY_LINE.test(line)) continue;
    const comment = line.trim().split(/\s+/).at(-1) ?? '';
    const name = comment.startsWith('AAAA') ? '' : ` (${comment.slice(0, 64)})`;
    report('authorized-keys', path, `it lets a key in${name}`, index + 1);
  }
}

interface Directive {
  readonly key: string;
  readonly value: string;
  readonly path: string;
  readonly line: number;
  /** Below a Match: it overrides what stands above. */
  readonly inMatch: boolean;
}

export function checkSshd(view: TreeView, report: Report): void {
  const directives: Directive[] = [];
  readConfig(view, SSHD_CONFIG, 0, false, directives);
  // The first value counts, except below a Match.
  const first = (key: string): Directive | undefined => directives.find((one) => one.key === key && !one.inMatch);
  const matched = (key: string): Directive[] => directives.filter((one) => one.key === key && one.inMatch);
  const passwords = [first('passwordauthentication'), first('kbdinteractiveauthentication')];
  const noPasswords = passwords.every((one) => one?.value === 'no');
  const somePasswords = !noPasswords || matched('passwordauthentication').some(({ value }) => value === 'yes');
  for (const one of [first('permitrootlogin'), ...matched('permitrootlogin')]) {
    if (one?.value === 'yes' && somePasswords) {
      report('ssh-root-password', one.path, 'PermitRootLogin yes, and passwords are not off', one.line);
    }
  }
  for (const one of [first('permitemptypasswords'), ...matched('permitemptypasswords')]) {
    if (one?.value === 'yes') report('ssh-empty-passwords', one.path, 'PermitEmptyPasswords yes', one.line);
  }
  checkDropbear(view, report);
  checkSshdArguments(view, report);
}

/** Answers whether the file ends below a Match: an include opens one only for itself. */
function readConfig(view: TreeView, path: string, depth: number, above: boolean, found: Directive[]): void {
  let inMatch = above;
  for (const [index, text] of view.lines(path).entries()) {
    if (found.length >= LINES_AT_MOST) return;
    const [, word = '', rest = ''] = /^\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+)(.*?)\s*$/.exec(text) ?? [];
    const key = word.toLowerCase();
    if (key === '') continue;
    if (key === 'match') inMatch = rest.toLowerCase() !== 'all';
    else if (key === 'include' && depth < INCLUDE_DEPTH_AT_MOST) {
      for (const file of rest.split(/\s+/).flatMap((pattern) => matches(view, pattern))) {
        readConfig(view, file, depth + 1, inMatch, found);
      }
    } else found.push({ key, value: rest.replaceAll('"', '').toLowerCase(), path, line: index + 1, inMatch });
  }
}

/** Files that a pattern means; stars only in the last part, as everybody writes them. */
function matches(view: TreeView, pattern: string): string[] {
  const plain = pattern.startsWith('/') ? pattern.slice(1) : `etc/ssh/${pattern}`;
  const cut = plain.lastIndexOf('/');
  const folder = plain.slice(0, cut);
  const parts = plain.slice(cut + 1).split(/([*?])/);
  const glob = parts.map((part) =>
    part === '*' ? '[^/]*' : part === '?' ? '[^/]' : part.replaceAll(/[.+^${}()|[\]\\]/g, '\\$&'),
  );
  const wanted = new RegExp(`^${glob.join('')}$`);
  return view
    .names(folder)
    .filter((name) => wanted.test(name))
    .map((name) => `${folder}/${name}`);
}

/** -B lets empty passwords in; everything else is dropbear's good sense. */
function checkDropbear(view: TreeView, report: Report): void {
  for (const [index, line] of view.lines('etc/default/dropbear').entries()) {
    if (/^\s*DROPBEAR_(EXTRA_)?ARGS=.*(^|[\s"'=])-[a-zA-Z]*B/.test(line)) {
      report('ssh-empty-passwords', 'etc/default/dropbear', 'dropbear is started with -B', index + 1);
    }
  }
}

/** `sshd -o PermitRootLogin=yes` in a unit goes before the file. */
function checkSshdArguments(view: TreeView, report: Report): void {
  const units = new Units(view);
  for (const name of units.names()) {
    for (const { value, path, line } of units.list(name, 'ExecStart')) {
      if (!/\/(sshd|dropbear)\b/.test(value)) continue;
      if (/PermitRootLogin[=\s]+yes/i.test(value))
        report('ssh-root-password', path, `${name} starts sshd with PermitRootLogin yes`, line);
      if (/PermitEmptyPasswords[=\s]+yes/i.test(value) || /dropbear\b.*\s-[a-zA-Z]*B/.test(value)) {
        report('ssh-empty-passwords', path, `${name} starts it with empty passwords allowed`, line);
      }
    }
  }
}
