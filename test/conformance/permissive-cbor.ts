/**
 * A reader of all of CBOR, written for the suites and by nobody else's hand than theirs: what it finds out of our
 * profile it marks `OUT`, so that the suites can say what is due without asking the code under test.
 */

/** Stands for everything that is CBOR and not in our profile: floats, tags, bignums, other simple values, streaming. */
export const OUT = Symbol('out of profile');

interface Read {
  readonly value: unknown;
  readonly next: number;
}

const BREAK = Symbol('break');
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The value, with OUT in it where it leaves our profile. Throws for what is no CBOR item, or not exactly one. */
export function readPermissively(bytes: Uint8Array): unknown {
  const { value, next } = item(bytes, 0);
  if (value === BREAK) throw new Error('a break on its own');
  if (next !== bytes.length) throw new Error('something follows');
  return value;
}

function item(bytes: Uint8Array, at: number): Read {
  const first = bytes[at];
  if (first === undefined) throw new Error('short');
  const [major, info] = [first >> 5, first & 31];
  if (info > 27 && info < 31) throw new Error('reserved');
  if (info === 31) return streaming(bytes, at + 1, major);
  const length = info < 24 ? 0 : 1 << (info - 24);
  if (at + 1 + length > bytes.length) throw new Error('short');
  let argument = info < 24 ? BigInt(info) : 0n;
  for (const byte of bytes.subarray(at + 1, at + 1 + length)) argument = argument * 256n + BigInt(byte);
  return content(bytes, at + 1 + length, major, argument, info);
}

function content(bytes: Uint8Array, at: number, major: number, argument: bigint, info: number): Read {
  const safe = argument <= BigInt(Number.MAX_SAFE_INTEGER);
  const count = Number(argument);
  if (major === 0) return { value: safe ? count : OUT, next: at };
  if (major === 1) return { value: safe && count < Number.MAX_SAFE_INTEGER ? -1 - count : OUT, next: at };
  if (major === 2 || major === 3) {
    if (at + count > bytes.length) throw new Error('short');
    const part = bytes.slice(at, at + count);
    return { value: major === 2 ? part : UTF8.decode(part), next: at + count };
  }
  if (major === 4) return list(bytes, at, count);
  if (major === 5) return map(bytes, at, count);
  if (major === 6) return { value: OUT, next: item(bytes, at).next };
  if (info === 24 && count < 32) throw new Error('a simple value in two bytes that fits in one');
  const simple = info < 24 ? [false, true, null][count - 20] : undefined;
  return { value: simple === undefined ? OUT : simple, next: at };
}

function list(bytes: Uint8Array, start: number, count: number): Read {
  const items: unknown[] = [];
  let at = start;
  while (items.length < count) {
    const { value, next } = item(bytes, at);
    if (value === BREAK) throw new Error('a break inside');
    items.push(value);
    at = next;
  }
  return { value: items, next: at };
}

function map(bytes: Uint8Array, start: number, count: number): Read {
  const { value, next } = list(bytes, start, 2 * count);
  const flat = value as unknown[];
  const members = new Map<unknown, unknown>();
  for (let i = 0; i < flat.length; i += 2) members.set(flat[i], flat[i + 1]);
  return { value: members.size === count ? members : OUT, next };
}

function streaming(bytes: Uint8Array, start: number, major: number): Read {
  if (major === 7) return { value: BREAK, next: start };
  if (major < 2 || major === 6) throw new Error('no such stream');
  let at = start;
  for (let items = 0; ; items += 1) {
    const { value, next } = item(bytes, at);
    if (value === BREAK && (major !== 5 || items % 2 === 0)) return { value: OUT, next };
    if (value === BREAK) throw new Error('a name without a value');
    const [inner, info] = [(bytes[at] ?? 0) >> 5, (bytes[at] ?? 0) & 31];
    if (major < 4 && (inner !== major || info === 31)) throw new Error('a piece of another type');
    at = next;
  }
}
