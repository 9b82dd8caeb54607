/**
 * Reads fields out of decoded JSON, one small function per kind. They throw `ShapeFault`, which never leaves trust/:
 * each decoder catches it at its door and makes a refusal of it.
 *
 * Invariants: names are looked up as own members only; every text and count is bounded by its reader.
 */
import type { JsonObject, JsonValue } from './json.ts';

export class ShapeFault extends Error {}

export function shapeFault(where: string, what: string): never {
  throw new ShapeFault(`${where} ${what}`);
}

export function asObject(value: JsonValue | undefined, where: string): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return shapeFault(where, 'is no object');
  return value as JsonObject;
}

export function asList(value: JsonValue | undefined, where: string, maxLength: number): readonly JsonValue[] {
  if (!Array.isArray(value)) return shapeFault(where, 'is no list');
  if (value.length > maxLength) return shapeFault(where, `has ${value.length} items, at most ${maxLength}`);
  return value;
}

export function asText(value: JsonValue | undefined, where: string, pattern: RegExp): string {
  if (typeof value !== 'string') return shapeFault(where, 'is no text');
  if (!pattern.test(value)) return shapeFault(where, 'has not the form it must have');
  return value;
}

/** A whole number from `min` to 2^53 − 1. */
export function asCount(value: JsonValue | undefined, where: string, min = 0): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) return shapeFault(where, 'is no whole number');
  if (value < min) return shapeFault(where, `is ${value}, at least ${min}`);
  return value;
}

export function asOneOf<T extends string>(value: JsonValue | undefined, where: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === value);
  return found ?? shapeFault(where, `is none of ${choices.join(', ')}`);
}

/** For objects that are ours alone: no member but these may stand. */
export function onlyMembers(object: JsonObject, where: string, names: readonly string[]): void {
  for (const name of Object.keys(object)) {
    if (!names.includes(name)) shapeFault(where, `has an unknown member ${JSON.stringify(name)}`);
  }
}

export function member(object: JsonObject, name: string): JsonValue | undefined {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}
