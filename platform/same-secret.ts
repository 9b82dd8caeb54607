/** Comparing secrets, and digests of secrets. For what may not import Node: `equalBytes` of trust/bytes.ts. */
import { timingSafeEqual } from 'node:crypto';

/** Are they the same bytes, or the same text in UTF-8? In time that depends on the lengths only. */
export function sameSecret(a: string | Uint8Array, b: string | Uint8Array): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
