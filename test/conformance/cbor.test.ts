/**
 * The published CBOR vectors are for whole CBOR; our door takes a profile. What is due for each vector is decided here
 * by other means than those under test: permissive-cbor.ts says what the bytes mean, and thirty lines of encoder below
 * say what the deterministic encoding of that meaning would be.
 */
import { expect, it } from 'vitest';
import { equalBytes, hex } from '../../trust/bytes.ts';
import { CBOR_CAP_BYTES, CBOR_MAX_DEPTH, CborTag, decodeCbor } from '../../trust/cbor.ts';
import { readPermissively } from './permissive-cbor.ts';
import { type Counts, describeVectors, filesOf, fromHex, readBytes, readJson } from './vectors.ts';

function head(major: number, argument: number): number[] {
  if (argument < 24) return [(major << 5) | argument];
  const lengths = [1, 2, 4, 8] as const;
  const length = lengths.find((bytes) => argument < 256 ** bytes) ?? 8;
  const digits = Array.from({ length }, (_, i) => Math.floor(argument / 256 ** (length - 1 - i)) % 256);
  return [(major << 5) | (24 + lengths.indexOf(length)), ...digits];
}

/** RFC 8949 §4.2.1, for the types and depth of our profile; undefined for a value that is out of it. */
function deterministic(value: unknown, depth = 0): number[] | undefined {
  if (depth > CBOR_MAX_DEPTH) return undefined;
  if (value === false || value === true || value === null) return [value === null ? 0xf6 : value ? 0xf5 : 0xf4];
  if (typeof value === 'number') {
    return value >= 0 ? head(0, value) : head(1, -1 - value);
  }
  // Ours refuses a text that begins with a byte order mark: the decoder beneath it would drop the mark.
  if (typeof value === 'string' && value.startsWith('\ufeff')) return undefined;
  if (typeof value === 'string') return [...head(3, Buffer.byteLength(value)), ...Buffer.from(value)];
  if (value instanceof Uint8Array) return [...head(2, value.length), ...value];
  if (Array.isArray(value)) {
    if (depth === CBOR_MAX_DEPTH) return undefined;
    return joined(
      head(4, value.length),
      value.map((item) => deterministic(item, depth + 1)),
    );
  }
  if (!(value instanceof Map) || depth === CBOR_MAX_DEPTH) return undefined;
  const members: [string, number[]][] = [];
  for (const [key, member] of value) {
    const name = typeof key === 'string' || typeof key === 'number' ? deterministic(key) : undefined;
    const content = deterministic(member, depth + 1);
    if (name === undefined || content === undefined) return undefined;
    members.push([hex(Uint8Array.from(name)), [...name, ...content]]);
  }
  members.sort(([a], [b]) => (a < b ? -1 : 1));
  return joined(
    head(5, members.length),
    members.map(([, bytes]) => bytes),
  );
}

function joined(start: number[], parts: readonly (number[] | undefined)[]): number[] | undefined {
  const whole = [...start];
  for (const part of parts) {
    if (part === undefined) return undefined;
    whole.push(...part);
  }
  return whole;
}

function meaningOf(bytes: Uint8Array): unknown {
  try {
    return readPermissively(bytes);
  } catch {
    return undefined;
  }
}

/** Is this the deterministic encoding of something in our profile? */
function isDue(bytes: Uint8Array): boolean {
  const meaning = meaningOf(bytes);
  const encoded = meaning === undefined ? undefined : deterministic(meaning);
  return encoded !== undefined && equalBytes(Uint8Array.from(encoded), bytes);
}

function judge(bytes: Uint8Array, due: boolean, counts: Counts): void {
  const verdict = decodeCbor(bytes, { capBytes: CBOR_CAP_BYTES });
  expect(verdict.ok ? 'accepted' : 'refused', hex(bytes)).toBe(due ? 'accepted' : 'refused');
  if (verdict.ok) {
    expect(verdict.value).not.toBeInstanceOf(CborTag);
    expect(verdict.value).toEqual(meaningOf(bytes));
  }
  counts.add(verdict.ok ? 'accepted' : verdict.code);
}

interface CborWgFile {
  readonly title: string;
  readonly fail: boolean;
  readonly tests: readonly { readonly encoded: Uint8Array; readonly description: string }[];
}

function readCborWg(...path: string[]): CborWgFile {
  const file = readPermissively(readBytes(...path)) as Map<string, unknown>;
  const tests = (file.get('tests') as Map<string, unknown>[]).map((test) => ({
    encoded: new Uint8Array(test.get('encoded') as Uint8Array),
    description: String(test.get('description')),
  }));
  return { title: String(file.get('title')), fail: file.get('fail') === true, tests };
}

describeVectors('cbor-appendix-a', 'cbor-appendix-a', (path, counts) => {
  const vectors = readJson(path, 'appendix_a.json') as readonly { hex: string; roundtrip: boolean }[];
  it.each(vectors)('$hex', ({ hex: text, roundtrip }) => {
    const due = isDue(fromHex(text));
    // Their own word on it: what does not survive a round trip is not deterministic.
    if (!roundtrip) expect(due).toBe(false);
    judge(fromHex(text), due, counts);
  });
  it('ran them all', () => expect(counts.total).toBe(82));
});

describeVectors('cbor-wg-bad', 'cbor-wg', (path, counts) => {
  const { tests } = readCborWg(path, 'tests/rfc8949/bad.cbor');
  it.each(tests)('refuses: $description', ({ encoded }) => judge(encoded, false, counts));
  it('ran them all', () => expect(counts.total).toBe(47));
});

describeVectors('cbor-wg-good', 'cbor-wg', (path, counts) => {
  const { tests } = readCborWg(path, 'tests/rfc8949/good.cbor');
  it.each(tests)('$description', ({ encoded }) => judge(encoded, isDue(encoded), counts));
  it('accepted some and refused some', () => expect(counts.of('accepted')).toBeGreaterThan(0));
});

describeVectors('cbor-wg-appendix-a', 'cbor-wg', (path, counts) => {
  const folder = `${path}/tests/rfc8949-appendixA`;
  for (const name of filesOf(folder, '.cbor')) {
    const { tests } = readCborWg(folder, name);
    it.each(tests)(`${name}: $description`, ({ encoded }) => judge(encoded, isDue(encoded), counts));
  }
  it('accepted some and refused some', () => expect(counts.of('accepted')).toBeGreaterThan(0));
});

describeVectors('cbor-wg-spike', 'cbor-wg', (path, counts) => {
  const { tests } = readCborWg(path, 'tests/spike/spike.cbor');
  it('judges every vector as the profile demands', () => {
    for (const { encoded } of tests) judge(encoded, isDue(encoded), counts);
    expect(counts.total).toBe(1165);
  });
});
