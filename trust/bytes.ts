/**
 * Bytes and their spellings, and the two brands by which trust shows in the types.
 *
 * Invariants: decoders here are strict (one spelling per value) and never throw on foreign text.
 * May not: interpret what the bytes mean.
 */

declare const DECODED: unique symbol;
declare const VERIFIED: unique symbol;

/** Parsed and of the right shape, and nothing more: no signature has been looked at. */
export type Decoded<T> = T & { readonly [DECODED]: true };

/** Signed by whom the root says may sign it. Only trust/ makes these (verified.ts). */
export type Verified<T> = T & { readonly [VERIFIED]: true };

/** For decoders, at their last line. */
export function markDecoded<T>(value: T): Decoded<T> {
  return value as Decoded<T>;
}

const HEX_DIGITS = '0123456789abcdef';
const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** Lower-case hexadecimal. */
export function hex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += (HEX_DIGITS[byte >> 4] ?? '') + (HEX_DIGITS[byte & 15] ?? '');
  return text;
}

/** The bytes of lower-case hexadecimal text; undefined for an odd length, an upper-case digit or anything else. */
export function unhex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/.test(text)) return undefined;
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

/** RFC 4648 §5, without padding. */
export function base64url(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const bits = ((bytes[i] ?? 0) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    const digits = left >= 3 ? 4 : left + 1;
    for (let d = 0; d < digits; d += 1) text += BASE64URL[(bits >> (18 - 6 * d)) & 63] ?? '';
  }
  return text;
}

/** RFC 4648 §5 without padding; undefined for any other text, also when unused trailing bits are set. */
export function unbase64url(text: string): Uint8Array | undefined {
  if (text.length % 4 === 1) return undefined;
  const bytes = new Uint8Array(Math.floor((text.length * 3) / 4));
  let bits = 0;
  let held = 0;
  let at = 0;
  for (const digit of text) {
    const value = BASE64URL.indexOf(digit);
    if (value < 0 || digit.length !== 1) return undefined;
    bits = ((bits << 6) | value) & 0xffff;
    held += 6;
    if (held >= 8) {
      held -= 8;
      bytes[at] = (bits >> held) & 0xff;
      at += 1;
    }
  }
  // Two texts for one value would let a token be altered without anyone noticing.
  return (bits & ((1 << held) - 1)) === 0 ? bytes : undefined;
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Equality in time that depends on the lengths only. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i += 1) difference |= (a[i] ?? 0) ^ (b[i] ?? 0);
  return difference === 0;
}

const ENCODER = new TextEncoder();

export function utf8(text: string): Uint8Array {
  return ENCODER.encode(text);
}
