/**
 * What a password that a person chooses must be, after NIST SP 800-63B-4 (August 2025), section 3.1.1.2: 15 characters or
 * more where it stands alone, counted as code points, any characters, no rules of composition, and none that attackers
 * try first. Normalised to NFKC before it is counted and hashed, so that two keyboards give one password.
 *
 * May not: be told to whoever attacks; a verdict names the rule, never the password.
 */
import { FACTORY_PAIRS } from '../../protocol/factory-pairs.ts';

const SHORTEST = 15;
/** The standard asks for at least 64; crypt takes more, hashing takes time. */
const LONGEST = 128;

export type PasswordVerdict =
  | { readonly ok: true; readonly text: string }
  | {
      readonly ok: false;
      readonly code: 'password-too-short' | 'password-too-long' | 'password-listed' | 'password-unwritable';
      readonly detail: string;
    };

/** What people choose most, or lengthen to reach a limit: looked for without regard to case. */
const COMMONEST = [
  ...[
    'password',
    'passw0rd',
    'passwort',
    'motdepasse',
    'contraseña',
    'letmein',
    'welcome',
    'iloveyou',
    'monkey',
    'dragon',
  ],
  ...['qwerty', 'qwertyuiop', 'qwertzuiop', 'azertyuiop', 'asdfghjkl', 'zxcvbnm', '1q2w3e4r5t', '1qaz2wsx', 'football'],
  ...[
    'administrator',
    'changeme',
    'trustno1',
    'sunshine',
    'princess',
    'baseball',
    'superman',
    'holdfast',
    'raspberrypi',
  ],
];
const LISTED = new Set(
  [...FACTORY_PAIRS.map(({ password }) => password), ...COMMONEST].map((text) => text.toLowerCase()),
);

/** `names`: what the account and the device are called; a password that is made of these is known to everybody. */
export function judgePassword(typed: string, names: readonly string[] = []): PasswordVerdict {
  const text = typed.normalize('NFKC');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what no line of a file and no terminal can carry
  if (/[\u0000-\u001f\u007f]/.test(text) || !text.isWellFormed()) {
    return refuse('password-unwritable', 'it has a control character in it, which cannot be typed at a login');
  }
  const length = [...text].length;
  if (length < SHORTEST)
    return refuse('password-too-short', `it has ${length} characters; at least ${SHORTEST} are needed`);
  if (length > LONGEST) return refuse('password-too-long', `it has more than ${LONGEST} characters`);
  if (isListed(text.toLowerCase(), names)) {
    return refuse(
      'password-listed',
      'it is a well-known password, one repeated or counted up, or the name of something here',
    );
  }
  return { ok: true, text };
}

/** Listed as it is, or nothing but listed words, names, one pattern over and over, or a row of the alphabet. */
function isListed(text: string, names: readonly string[]): boolean {
  const words = [...LISTED, ...names.map((name) => name.toLowerCase())].filter((word) => word !== '');
  if (words.includes(text) || /^(.{1,8})\1+$/u.test(text) || isRow(text)) return true;
  let rest = text;
  for (const word of words.filter(({ length }) => length >= 4).sort((a, b) => b.length - a.length)) {
    rest = rest.replaceAll(word, '');
  }
  // What is left beside well-known words is what a person adds to please a rule: "Password-2024!".
  return rest.length < text.length && [...rest].length < 8;
}

function isRow(text: string): boolean {
  const points = [...text].map((character) => character.codePointAt(0) ?? 0);
  const steps = points.slice(1).map((point, at) => point - (points[at] ?? 0));
  // 123456789012345 wraps at 9.
  return steps.every((step) => step === 1 || step === -9) || steps.every((step) => step === -1 || step === 9);
}

function refuse(code: Exclude<PasswordVerdict, { ok: true }>['code'], detail: string): PasswordVerdict {
  return { ok: false, code, detail };
}
