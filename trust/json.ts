/**
 * The one door for JSON that comes from outside, and the canonical form over which TUF signs.
 *
 * Invariants: one text has one reading. A name twice in an object, a lone surrogate, a byte order mark, bytes that are
 * not UTF-8, nesting beyond the cap: refused. Objects have no prototype, so that a foreign name finds nothing inherited.
 * May not: convert or default anything; what a field means is its reader's business.
 */
import { utf8 } from './bytes.ts';
import { accept, type Refusal, refuse, type Verdict } from './refusal.ts';

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

export interface JsonLimits {
  readonly capBytes: number;
  /** Nested arrays and objects; 32 when absent. */
  readonly maxDepth?: number;
}

const DEFAULT_MAX_DEPTH = 32;
const STRICT_UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
// Everything up to a quote, a backslash or a control character.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it must stop at (RFC 8259 §7)
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

class JsonFault extends Error {}

/** A document and, when it is an object, the bytes of each of its members as they were received. */
export interface JsonDocument {
  readonly value: JsonValue;
  readonly members: ReadonlyMap<string, Uint8Array>;
}

/** Strict JSON (RFC 8259) of at most `capBytes`: `input-too-large` or `json-malformed` otherwise. */
export function decodeJson(bytes: Uint8Array, limits: JsonLimits): Verdict<JsonValue> {
  const document = decodeJsonDocument(bytes, limits);
  return document.ok ? accept(document.value.value) : document;
}

/** As `decodeJson`, and keeps the received bytes of the outermost object's members: signatures cover those. */
export function decodeJsonDocument(bytes: Uint8Array, limits: JsonLimits): Verdict<JsonDocument> {
  if (bytes.length > limits.capBytes) {
    return refuse('input-too-large', `${bytes.length} bytes of JSON, at most ${limits.capBytes}`);
  }
  let text: string;
  try {
    text = STRICT_UTF8.decode(bytes);
  } catch {
    return refuse('json-malformed', 'the bytes are not UTF-8');
  }
  try {
    const parser = new Parser(text, limits.maxDepth ?? DEFAULT_MAX_DEPTH);
    const value = parser.document();
    return accept({ value, members: parser.members });
  } catch (error) {
    return jsonRefusal(error);
  }
}

function jsonRefusal(error: unknown): Refusal {
  if (error instanceof JsonFault) return refuse('json-malformed', error.message);
  throw error;
}

class Parser {
  readonly members = new Map<string, Uint8Array>();
  readonly #text: string;
  readonly #maxDepth: number;
  #at = 0;

  constructor(text: string, maxDepth: number) {
    this.#text = text;
    this.#maxDepth = maxDepth;
  }

  document(): JsonValue {
    const value = this.#value(0);
    this.#space();
    if (this.#at !== this.#text.length) this.#fail('something follows the document');
    return value;
  }

  #fail(what: string): never {
    throw new JsonFault(`${what}, at character ${this.#at}`);
  }

  #space(): void {
    while (this.#at < this.#text.length && ' \t\n\r'.includes(this.#text.charAt(this.#at))) this.#at += 1;
  }

  #take(expected: string): boolean {
    if (!this.#text.startsWith(expected, this.#at)) return false;
    this.#at += expected.length;
    return true;
  }

  #value(depth: number): JsonValue {
    this.#space();
    const first = this.#text.charAt(this.#at);
    if (first === '{') return this.#object(depth + 1);
    if (first === '[') return this.#array(depth + 1);
    if (first === '"') return this.#string();
    if (this.#take('true')) return true;
    if (this.#take('false')) return false;
    if (this.#take('null')) return null;
    return this.#number();
  }

  #number(): number {
    NUMBER.lastIndex = this.#at;
    const found = NUMBER.exec(this.#text);
    if (found === null) this.#fail('no JSON value');
    this.#at += found[0].length;
    const number = Number(found[0]);
    // Beyond 2^53 two different texts would become one number.
    if (!Number.isFinite(number) || (Number.isInteger(number) && !Number.isSafeInteger(number))) {
      this.#fail('a number that cannot be represented exactly');
    }
    return number;
  }

  #string(): string {
    this.#at += 1;
    let result = '';
    for (;;) {
      PLAIN.lastIndex = this.#at;
      const plain = PLAIN.exec(this.#text)?.[0] ?? '';
      result += plain;
      this.#at += plain.length;
      if (this.#take('"')) break;
      if (!this.#take('\\')) this.#fail('a string does not end, or holds a control character');
      result += this.#escape();
    }
    if (!result.isWellFormed()) this.#fail('a lone surrogate');
    return result;
  }

  #escape(): string {
    const letter = this.#text.charAt(this.#at);
    this.#at += 1;
    if (letter !== 'u') return ESCAPES[letter] ?? this.#fail('an unknown escape');
    const digits = this.#text.slice(this.#at, this.#at + 4);
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) this.#fail('a bad \\u escape');
    this.#at += 4;
    return String.fromCharCode(Number.parseInt(digits, 16));
  }

  #enter(depth: number): void {
    if (depth > this.#maxDepth) this.#fail(`nested deeper than ${this.#maxDepth}`);
    this.#at += 1;
    this.#space();
  }

  #array(depth: number): JsonValue[] {
    this.#enter(depth);
    const items: JsonValue[] = [];
    if (this.#take(']')) return items;
    for (;;) {
      items.push(this.#value(depth));
      this.#space();
      if (this.#take(']')) return items;
      if (!this.#take(',')) this.#fail('no comma between items');
    }
  }

  #object(depth: number): JsonObject {
    this.#enter(depth);
    const object: Record<string, JsonValue> = Object.create(null);
    if (this.#take('}')) return object;
    for (;;) {
      this.#space();
      if (this.#text.charAt(this.#at) !== '"') this.#fail('a name must be a string');
      const name = this.#string();
      if (Object.hasOwn(object, name)) this.#fail(`the name ${JSON.stringify(name)} twice in one object`);
      this.#space();
      if (!this.#take(':')) this.#fail('no colon after a name');
      this.#space();
      const start = this.#at;
      object[name] = this.#value(depth);
      if (depth === 1) this.members.set(name, utf8(this.#text.slice(start, this.#at)));
      this.#space();
      if (this.#take('}')) return object;
      if (!this.#take(',')) this.#fail('no comma between members');
    }
  }
}

export interface CanonicalOptions {
  /**
   * OLPC canonical JSON writes control characters as they are, which no JSON reader takes back. Ours therefore refuses
   * them; only the conformance mode, which recomputes the form of foreign metadata, lets them stand.
   */
  readonly controlCharacters?: 'refused' | 'literal';
}

/**
 * OLPC canonical JSON, the form over which TUF signs: names sorted by code point, no spaces, only `"` and `\` escaped,
 * integers only. Throws TypeError for anything that has no such form (floats, control characters, undefined): what we
 * encode is ours, so that is a bug; foreign values come through `tryCanonicalJson`.
 */
export function canonicalJson(value: unknown, options: CanonicalOptions = {}): Uint8Array {
  return utf8(canonicalText(value, options.controlCharacters === 'literal'));
}

/** As `canonicalJson`, for a value that came from outside: undefined when it has no canonical form. */
export function tryCanonicalJson(value: JsonValue, options: CanonicalOptions = {}): Uint8Array | undefined {
  try {
    return canonicalJson(value, options);
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

function canonicalText(value: unknown, literalControls: boolean): string {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'number') return canonicalInteger(value);
  if (typeof value === 'string') return canonicalString(value, literalControls);
  if (Array.isArray(value)) return `[${value.map((item) => canonicalText(item, literalControls)).join(',')}]`;
  if (typeof value !== 'object') throw new TypeError(`canonical JSON has no ${typeof value}`);
  const members = Object.entries(value)
    // A member that is absent and one that is undefined are the same to TypeScript, and must be to a signature.
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => compareCodePoints(a, b))
    .map(([name, member]) => `${canonicalString(name, literalControls)}:${canonicalText(member, literalControls)}`);
  return `{${members.join(',')}}`;
}

function canonicalInteger(value: number): string {
  if (!Number.isSafeInteger(value)) throw new TypeError(`canonical JSON takes safe integers only, not ${value}`);
  // -0 prints as 0.
  return String(value === 0 ? 0 : value);
}

function canonicalString(text: string, literalControls: boolean): string {
  if (!text.isWellFormed()) throw new TypeError('canonical JSON has no lone surrogates');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  if (!literalControls && /[\u0000-\u001f]/.test(text)) {
    throw new TypeError('canonical JSON has no control characters (a certificate goes in as one line of base64)');
  }
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

const SURROGATE = /[\ud800-\udfff]/;

/** JavaScript sorts by UTF-16 unit, which puts U+10000 before U+FFFF; without surrogates the two orders are one. */
function compareCodePoints(a: string, b: string): number {
  if (!SURROGATE.test(a) && !SURROGATE.test(b)) return a < b ? -1 : Number(a > b);
  const left = [...a];
  const right = [...b];
  for (let i = 0; i < Math.min(left.length, right.length); i += 1) {
    const difference = (left[i]?.codePointAt(0) ?? 0) - (right[i]?.codePointAt(0) ?? 0);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}
