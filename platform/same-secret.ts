/** Comparing secrets, and digests of secrets. For what may not import Node: `equalBytes` of trust/bytes.ts. */
import { timingSafeEqual } from 'node:crypto';

/** Are they the same bytes, or the same text in UTF-8? In time that depends on the lengths only. */
export function sameSecret(a: string | Uint8Array, b: string | Uint8Array): boolean {
  const [left, right] = [bytesOf(a), bytesOf(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

/** No second copy of bytes. */
const bytesOf = (secret: string | Uint8Array): Uint8Array =>
  typeof secret === 'string' ? Buffer.from(secret) : secret;
