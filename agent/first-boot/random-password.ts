/**
 * A password that a machine makes and a person may have to type: 28 characters of an alphabet without look-alikes, in
 * groups of four. 140 bits, and 34 characters long: within what WPA takes (63).
 */
import type { SecretSource } from '../core/first-boot-ports.ts';

/** 32 characters, so that five bits of a random byte choose one without bias. No l, o, 0, 1. */
const ALPHABET = 'abcdefghijkmnpqrstuvwxyz23456789';
const CHARACTERS = 28;

export function randomPassword(random: SecretSource): string {
  const characters = [...random.bytes(CHARACTERS)].map((byte) => ALPHABET[byte % ALPHABET.length] ?? '');
  return characters.join('').replaceAll(/(.{4})(?=.)/g, '$1-');
}
