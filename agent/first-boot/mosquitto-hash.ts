/**
 * A line's second half in the password file of Mosquitto: `$7$ITERATIONS$SALT$HASH`, PBKDF2 with HMAC-SHA-512, salt and
 * hash in base64 with their padding. Its `$6$` is not that of crypt(5), whatever it looks like: the broker takes no
 * sha512crypt.
 *
 * Source: src/security_default.c and apps/mosquitto_passwd of Mosquitto 2.0, which takes salts of 12 bytes alone.
 */
import { pbkdf2Sync } from 'node:crypto';
import type { SecretSource } from '../core/first-boot-ports.ts';

const SALT_BYTES = 12;
const HASH_BYTES = 64;
/** Its own default. What is hashed has 140 random bits, and the broker's one thread hashes at each CONNECT. */
const ITERATIONS = 101;

/** A new hash with a random salt. */
export function makeMosquittoHash(password: string, random: SecretSource): string {
  const salt = Buffer.from(random.bytes(SALT_BYTES));
  const hash = pbkdf2Sync(password, salt, ITERATIONS, HASH_BYTES, 'sha512');
  return `$7$${ITERATIONS}$${salt.toString('base64')}$${hash.toString('base64')}`;
}
