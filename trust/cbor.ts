/**
 * The one door for CBOR on the trust path: RFC 8949 §4.2.1 deterministic form and nothing else.
 *
 * Invariants: `decodeCbor(bytes)` accepts exactly the bytes that `encodeCbor` of the result gives back. Depth and every
 * declared length are checked in a flat walk before anything is built, so that nothing hostile is allocated or recursed
 * into. Types: integers within ±2^53, byte and text strings, arrays, maps with integer or text keys, false, true, null,
 * and the tags that the caller names. No floats, no undefined, no other simple values, no indefinite lengths, no text that
 * begins with a byte order mark (the decoder beneath would drop it, and the comparison notices).
 * May not: interpret what it decodes.
 */
import { decode, encode, rfc8949EncodeOptions, Tagged } from 'cborg';
import { equalBytes } from './bytes.ts';
import { accept, refuse, type Verdict } from './refusal.ts';

export type CborKey = number | string;
export type CborMap = ReadonlyMap<CborKey, CborValue>;
export type CborValue = null | boolean | number | string | Uint8Array | readonly CborValue[] | CborMap | CborTag;

/** A tagged item. */
export class CborTag {
  readonly tag: number;
  readonly value: CborValue;

  constructor(tag: number, value: CborValue) {
    this.tag = tag;
    this.value = value;
  }
}

export const CBOR_CAP_BYTES = 64 * 1024;
/** Nested arrays, maps and tags. */
export const CBOR_MAX_DEPTH = 16;

export interface CborLimits {
  readonly capBytes: number;
  /** Tags that may occur; none when absent. */
  readonly tags?: readonly number[];
}

/**
 * Strict deterministic CBOR: `input-too-large`, `cbor-malformed` (not well-formed, not UTF-8, a key twice, a type,
 * tag or depth out of profile) or `cbor-not-deterministic` (valid, but another encoding of the same value exists).
 */
export function decodeCbor(bytes: Uint8Array, limits: CborLimits): Verdict<CborValue> {
  if (bytes.length > limits.capBytes) {
    return refuse('input-too-large', `${bytes.length} bytes of CBOR, at most ${limits.capBytes}`);
  }
  const shape = walk(bytes, limits.tags ?? []);
  if (!shape.ok) return shape;
  let value: CborValue;
  try {
    const decoded: unknown = decode(bytes, {
      useMaps: true,
      rejectDuplicateMapKeys: true,
      allowIndefinite: false,
      allowUndefined: false,
      allowBigInt: false,
      tags: Tagged.preserve(...(limits.tags ?? [])),
    });
    value = ours(decoded);
  } catch (error) {
    return refuse('cbor-malformed', error instanceof Error ? error.message : 'not CBOR');
  }
  // Shortest integers, shortest lengths and sorted keys all show in the encoding: one comparison covers them.
  if (!equalBytes(encodeCbor(value), bytes)) {
    return refuse('cbor-not-deterministic', 'the bytes are not the deterministic encoding of their value');
  }
  return accept(value);
}

/** The deterministic encoding. Throws for numbers that are no safe integers: what we encode is ours. */
export function encodeCbor(value: CborValue): Uint8Array {
  return new Uint8Array(encode(theirs(value), rfc8949EncodeOptions));
}

function ours(value: unknown): CborValue {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new Error('a number that is no safe integer');
    return value;
  }
  if (value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map(ours);
  if (value instanceof Tagged) return new CborTag(value.tag, ours(value.value));
  if (value instanceof Map) {
    const map = new Map<CborKey, CborValue>();
    for (const [key, member] of value) {
      if (typeof key !== 'string' && typeof key !== 'number') throw new Error('a map key that is no integer or text');
      map.set(key, ours(member));
    }
    return map;
  }
  throw new Error('a type that is out of profile');
}

function theirs(value: CborValue): unknown {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    throw new TypeError(`CBOR on the trust path takes safe integers only, not ${value}`);
  }
  if (value instanceof CborTag) return new Tagged(value.tag, theirs(value.value));
  if (value instanceof Map) return new Map([...value].map(([key, member]) => [key, theirs(member)]));
  if (value instanceof Uint8Array || value === null || typeof value !== 'object') return value;
  return Array.from(value as readonly CborValue[], theirs);
}

const MAJOR_BYTES = 2;
const MAJOR_TEXT = 3;
const MAJOR_ARRAY = 4;
const MAJOR_MAP = 5;
const MAJOR_TAG = 6;
const MAJOR_SIMPLE = 7;

interface Head {
  readonly major: number;
  readonly argument: number;
  readonly next: number;
}

/**
 * Goes over the heads of all items without building or recursing. Its stack never holds more than CBOR_MAX_DEPTH
 * counts, and a declared count is a number to count down, never a size to allocate.
 */
function walk(bytes: Uint8Array, tags: readonly number[]): Verdict<null> {
  const open: number[] = [1];
  let at = 0;
  while (open.length > 0) {
    const left = open[open.length - 1] ?? 0;
    if (left === 0) {
      open.pop();
      continue;
    }
    open[open.length - 1] = left - 1;
    const head = readHead(bytes, at);
    if (typeof head === 'string') return refuse('cbor-malformed', `${head}, at byte ${at}`);
    at = head.next;
    const children = childrenOf(head, tags);
    if (typeof children === 'string') return refuse('cbor-malformed', `${children}, at byte ${at}`);
    if (head.major === MAJOR_BYTES || head.major === MAJOR_TEXT) at += head.argument;
    if (at > bytes.length) return refuse('cbor-malformed', 'the bytes end inside an item');
    if (head.major === MAJOR_TEXT && !isUtf8(bytes.subarray(head.next, at))) {
      return refuse('cbor-malformed', `a text that is not UTF-8, at byte ${head.next}`);
    }
    if (children >= 0) open.push(children);
    if (open.length - 1 > CBOR_MAX_DEPTH) return refuse('cbor-malformed', `nested deeper than ${CBOR_MAX_DEPTH}`);
  }
  return at === bytes.length ? accept(null) : refuse('cbor-malformed', 'something follows the item');
}

const STRICT_UTF8 = new TextDecoder('utf-8', { fatal: true });

function isUtf8(bytes: Uint8Array): boolean {
  try {
    STRICT_UTF8.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** How many items the head opens; -1 when it opens none; a text when it is out of profile. */
function childrenOf(head: Head, tags: readonly number[]): number | string {
  switch (head.major) {
    case MAJOR_ARRAY:
      return head.argument;
    case MAJOR_MAP:
      return head.argument * 2;
    case MAJOR_TAG:
      return tags.includes(head.argument) ? 1 : `tag ${head.argument} is not taken here`;
    case MAJOR_SIMPLE:
      return head.argument >= 20 && head.argument <= 22 ? -1 : 'a float, undefined or another simple value';
    default:
      return -1;
  }
}

function readHead(bytes: Uint8Array, at: number): Head | string {
  const first = bytes[at];
  if (first === undefined) return 'the bytes end where an item should begin';
  const major = first >> 5;
  const info = first & 31;
  if (info < 24) return { major, argument: info, next: at + 1 };
  if (info > 27) return 'an indefinite length or a reserved head';
  // Simple values beyond 23 and floats: refused by the caller, by an argument that is no simple value of ours.
  if (major === MAJOR_SIMPLE) return { major, argument: 255, next: at + 1 };
  const length = 1 << (info - 24);
  if (at + 1 + length > bytes.length) return 'the bytes end inside a head';
  let argument = 0;
  for (let i = 0; i < length; i += 1) argument = argument * 256 + (bytes[at + 1 + i] ?? 0);
  if (!Number.isSafeInteger(argument)) return 'an integer or length beyond 2^53';
  return { major, argument, next: at + 1 + length };
}
