/**
 * sha256crypt and sha512crypt, `$5$` and `$6$` of crypt(5): how /etc/shadow keeps a password. Made here because Node has
 * neither, and a device need not have openssl or perl; what it makes is what libcrypt and OpenSSL make (see the test).
 *
 * Source: Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512", version 0.6, www.akkadia.org/drepper/SHA-crypt.txt; the
 * numbers in the comments are its steps.
 */
import { createHash } from 'node:crypto';
import { sameSecret } from '../../platform/same-secret.ts';
import type { SecretSource } from '../core/first-boot-ports.ts';

const ALPHABET = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const DEFAULT_ROUNDS = 5000;
/** The specification's own limit is 999,999,999: minutes of work that a hostile image could ask for. */
const MOST_ROUNDS = 1_000_000;
const SALT_CHARACTERS = 16;
const FORM = /^\$([56])\$(?:rounds=(\d{1,9})\$)?([^$:\n]{0,16})(?:\$([./0-9A-Za-z]+))?$/;

/** A new hash with a random salt, for a field of /etc/shadow. */
export function makeSha512Crypt(password: string, random: SecretSource): string {
  const salt = [...random.bytes(SALT_CHARACTERS)].map((byte) => ALPHABET[byte % 64]).join('');
  const hash = shaCrypt(password, `$6$${salt}`);
  if (hash === undefined) throw new Error('a setting made here is always of the form');
  return hash;
}

/** Does the password give this hash? Undefined when the hash is of another form. */
export function matchesShaCrypt(password: string, hash: string): boolean | undefined {
  const made = shaCrypt(password, hash);
  if (made === undefined || FORM.exec(hash)?.[4] === undefined) return undefined;
  return sameSecret(made, hash);
}

/** `setting` is a hash, or what stands before it. Undefined when it is of another form. */
export function shaCrypt(password: string, setting: string): string | undefined {
  const found = FORM.exec(setting);
  if (found === null) return undefined;
  const [, kind, asked, saltText = ''] = found;
  const rounds = asked === undefined ? DEFAULT_ROUNDS : Math.max(Number(asked), 1000);
  if (rounds > MOST_ROUNDS) return undefined;
  const name = kind === '6' ? 'sha512' : 'sha256';
  const digest = digestOf(name, Buffer.from(password), Buffer.from(saltText), rounds);
  const stated = asked === undefined ? '' : `rounds=${rounds}$`;
  return `$${kind}$${stated}${saltText}$${encode(digest, kind === '6')}`;
}

function digestOf(name: 'sha256' | 'sha512', key: Buffer, salt: Buffer, rounds: number): Buffer {
  const hash = (...parts: Buffer[]): Buffer => {
    const made = createHash(name);
    for (const part of parts) made.update(part);
    return made.digest();
  };
  // 4–8: B; 1–3 and 9–12: A
  const b = hash(key, salt, key);
  const bits: Buffer[] = [];
  for (let length = key.length; length > 0; length >>= 1) bits.push((length & 1) === 1 ? b : key);
  let a = hash(key, salt, repeated(b, key.length), ...bits);
  // 13–16: P; 17–20: S
  const p = repeated(hash(...Array<Buffer>(key.length).fill(key)), key.length);
  const s = repeated(hash(...Array<Buffer>(16 + (a[0] ?? 0)).fill(salt)), salt.length);
  // 21
  for (let round = 0; round < rounds; round += 1) {
    const odd = round % 2 === 1;
    const parts = [odd ? p : a];
    if (round % 3 !== 0) parts.push(s);
    if (round % 7 !== 0) parts.push(p);
    parts.push(odd ? a : p);
    a = hash(...parts);
  }
  return a;
}

function repeated(block: Buffer, length: number): Buffer {
  const whole = Buffer.alloc(length);
  for (let at = 0; at < length; at += block.length) block.copy(whole, at);
  return whole;
}

/** 22: three bytes give four characters, least significant first; the order of bytes is a table that is a rotation. */
function encode(digest: Buffer, is512: boolean): string {
  let order: [number, number, number] = is512 ? [0, 21, 42] : [0, 10, 20];
  let text = '';
  for (let group = 0; group < (is512 ? 21 : 10); group += 1) {
    const [high, middle, low] = order;
    text += characters(((digest[high] ?? 0) << 16) | ((digest[middle] ?? 0) << 8) | (digest[low] ?? 0), 4);
    order = is512 ? [middle + 1, low + 1, high + 1] : [low + 1, high + 1, middle + 1];
  }
  return is512
    ? text + characters(digest[63] ?? 0, 2)
    : text + characters(((digest[31] ?? 0) << 8) | (digest[30] ?? 0), 3);
}

function characters(value: number, count: number): string {
  return Array.from({ length: count }, (_, at) => ALPHABET[(value >> (6 * at)) & 63]).join('');
}
