/** Skeleton; see exports. */
import type { Verdict } from './refusal.ts';

export class CborTag {
  readonly tag: number;
  readonly value: CborValue;
  constructor(tag: number, value: CborValue) {
    this.tag = tag;
    this.value = value;
  }
}
export type CborKey = number | string;
export type CborMap = ReadonlyMap<CborKey, CborValue>;
export type CborValue = null | boolean | number | string | Uint8Array | readonly CborValue[] | CborMap | CborTag;
export const CBOR_CAP_BYTES = 64 * 1024;
export const CBOR_MAX_DEPTH = 16;

export function decodeCbor(_bytes: Uint8Array, _limits: { capBytes: number }): Verdict<CborValue> {
  throw new Error('not written yet');
}
export function encodeCbor(_value: CborValue): Uint8Array {
  throw new Error('not written yet');
}
