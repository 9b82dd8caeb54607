/**
 * X25519 public keys as text in signed metadata: which 32 bytes are a key that secrets may be sealed to.
 *
 * Invariants: one key has one spelling (RFC 7748 §5 lets readers ignore the top bit and reduce what is not below the
 * prime; here both are refused, so that "the same key twice" is a comparison of bytes). Points of low order are refused:
 * whatever is sealed to one of them, everybody can open.
 * May not: compute with keys.
 */
import { hex } from './bytes.ts';

export const X25519_KEY_BYTES = 32;

/** Little-endian, as everything in RFC 7748: 2^255 − 19. */
const PRIME = 'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f';

/** The u-coordinates below the prime whose order divides 8, on the curve and on its twist: 0, 1, −1 and two of order 8. */
const LOW_ORDER: readonly string[] = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
];

/** Most significant byte first, so that texts compare as the numbers do. */
function bigEndian(bytes: Uint8Array): string {
  return hex(Uint8Array.from(bytes).reverse());
}

const PRIME_BIG_ENDIAN = PRIME.match(/../g)?.reverse().join('') ?? '';

/** May a secret be sealed to these bytes? */
export function isX25519PublicKey(bytes: Uint8Array): boolean {
  return bytes.length === X25519_KEY_BYTES && bigEndian(bytes) < PRIME_BIG_ENDIAN && !LOW_ORDER.includes(hex(bytes));
}
