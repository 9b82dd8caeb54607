/** What is secret in files that hold keys: the lines of text that only this key has, and the bare scalar or seed. */
import { createPrivateKey } from 'node:crypto';
import type { Secret } from './forms.ts';

const SEED_BYTES = 32;
/** Shorter last lines are found anywhere. */
const LINE_CHARACTERS = 24;

/** Of an unencrypted ed25519 key as ssh-keygen writes it (PROTOCOL.key): ends with seed and public key, which stands there three times. */
export function opensshSecrets(name: string, text: string): readonly Secret[] {
  const lines = bodyOf(text);
  const bytes = Buffer.from(lines.join(''), 'base64');
  const type = Buffer.from('ssh-ed25519');
  const publicAt = bytes.indexOf(type) + type.length + 4;
  const publicKey = bytes.subarray(publicAt, publicAt + SEED_BYTES);
  const tailAt = bytes.lastIndexOf(publicKey);
  if (publicAt < 15 || tailAt <= publicAt) throw new Error(`${name} is no ed25519 key of OpenSSH without a passphrase`);
  const seed = bytes.subarray(tailAt - SEED_BYTES, tailAt);
  // What lies in other lines is format, public key and comment: others have them too.
  const lineOf = (byteAt: number): number => Math.floor((byteAt * 8) / 6 / (lines[0]?.length ?? 1));
  const secret = lines.slice(lineOf(tailAt - SEED_BYTES), lineOf(tailAt - 1) + 1);
  return [{ name: `${name}, seed`, bytes: seed }, ...linesAsSecrets(name, secret)];
}

/** Of a PKCS#8 key: P-256, as devices have. */
export function pkcs8Secrets(name: string, pem: string): readonly Secret[] {
  const { d } = createPrivateKey(pem).export({ format: 'jwk' });
  if (d === undefined) throw new Error(`${name} has no private part`);
  // The first line is nearly the same for all keys; the third has nothing but the public key.
  return [
    { name: `${name}, scalar`, bytes: Buffer.from(d, 'base64url') },
    ...linesAsSecrets(name, bodyOf(pem).slice(1, 2)),
  ];
}

export function textSecret(name: string, text: string): Secret {
  return { name, bytes: Buffer.from(text) };
}

function bodyOf(text: string): readonly string[] {
  return text.split('\n').filter((line) => line !== '' && !line.startsWith('-----'));
}

function linesAsSecrets(name: string, lines: readonly string[]): readonly Secret[] {
  const long = lines.filter((line) => line.length >= LINE_CHARACTERS);
  return long.map((line, index) => ({ name: `${name}, line ${index + 1}`, bytes: Buffer.from(line) }));
}
