/** Skeleton; see exports. */
import type { Verdict } from './refusal.ts';

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

export interface JsonLimits {
  readonly capBytes: number;
  /** Nested arrays and objects; 32 when absent. */
  readonly maxDepth?: number;
}

export function decodeJson(_bytes: Uint8Array, _limits: JsonLimits): Verdict<JsonValue> {
  throw new Error('not written yet');
}

export function canonicalJson(_value: unknown): Uint8Array {
  throw new Error('not written yet');
}
