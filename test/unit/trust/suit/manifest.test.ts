import { describe, expect, it } from 'vitest';
import { hex, utf8 } from '../../../../trust/bytes.ts';
import { type CborMap, type CborValue, decodeCbor, encodeCbor } from '../../../../trust/cbor.ts';
import { sha256 } from '../../../../trust/crypto.ts';
import { classIdentifier, vendorIdentifier } from '../../../../trust/suit/identifiers.ts';
import { decodeManifest, encodeManifest, type ManifestDescription } from '../../../../trust/suit/manifest.ts';
import { codeOf, unwrap } from '../release-fixture.ts';

const SHA = hex(sha256(utf8('image')));
const DESCRIPTION: ManifestDescription = {
  ...{ vendor: 'acme.example', hardwareClass: 'acme-cam', channel: 'stable', version: '2.0.0' },
  ...{ sequence: 2, floorSequence: 1, buildUnixS: 1_780_000_000 },
  images: [
    { component: 'boot', sizeBytes: 4096, sha256: SHA, uri: 'releases/boot.img' },
    { component: 'rootfs', sizeBytes: 1 << 20, sha256: SHA, uri: 'releases/rootfs.img' },
  ],
};
const MANIFEST = encodeManifest(DESCRIPTION);

function mapOf(bytes: Uint8Array): Map<number | string, CborValue> {
  return new Map(unwrap(decodeCbor(bytes, { capBytes: bytes.length })) as CborMap);
}

function bytesOf(value: CborValue | undefined): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new Error('no byte string');
  return value;
}

/** The manifest with members changed; undefined takes one away. */
function withMembers(changes: readonly (readonly [number, CborValue | undefined])[]): Uint8Array {
  const manifest = mapOf(MANIFEST);
  for (const [key, value] of changes) {
    if (value === undefined) manifest.delete(key);
    else manifest.set(key, value);
  }
  return encodeCbor(manifest);
}

const COMMON = mapOf(bytesOf(mapOf(MANIFEST).get(3)));

function withCommon(key: number, value: CborValue | undefined): Uint8Array {
  const common = new Map(COMMON);
  if (value === undefined) common.delete(key);
  else common.set(key, value);
  return withMembers([[3, encodeCbor(common)]]);
}

function listOf(value: CborValue | undefined): CborValue[] {
  const bytes = bytesOf(value);
  return [...(unwrap(decodeCbor(bytes, { capBytes: bytes.length })) as readonly CborValue[])];
}

const SHARED = listOf(COMMON.get(4));
const INSTALL = listOf(mapOf(MANIFEST).get(20));
const VALIDATE = listOf(mapOf(MANIFEST).get(7));
const withShared = (items: readonly CborValue[]) => withCommon(4, encodeCbor(items));
const withInstall = (items: readonly CborValue[]) => withMembers([[20, encodeCbor(items)]]);
const withValidate = (items: readonly CborValue[]) => withMembers([[7, encodeCbor(items)]]);

describe('a manifest of the profile', () => {
  it('says what it was made of', () => {
    const manifest = unwrap(decodeManifest(MANIFEST));
    const { vendor, hardwareClass, ...facts } = DESCRIPTION;
    expect(manifest).toEqual({
      ...facts,
      vendorId: vendorIdentifier(vendor),
      classId: classIdentifier(vendor, hardwareClass),
    });
  });

  it('may say why no image brings an agent, in the plain text of a sentence', () => {
    const withoutAgent = 'this class leaves the fleet';
    expect(unwrap(decodeManifest(encodeManifest({ ...DESCRIPTION, withoutAgent })))).toMatchObject({ withoutAgent });
    expect(unwrap(decodeManifest(MANIFEST))).not.toHaveProperty('withoutAgent');
  });

  it('stays the same through every way of changing it that the tests below use', () => {
    for (const twin of [
      withShared(SHARED),
      withInstall(INSTALL),
      withValidate(VALIDATE),
      withCommon(2, COMMON.get(2)),
    ]) {
      expect(twin).toEqual(MANIFEST);
    }
  });

  it('may hold a reference, and an invoke sequence for bootloaders', () => {
    expect(
      codeOf(
        decodeManifest(
          withMembers([
            [4, 'https://acme.example'],
            [9, encodeCbor([12, 0, 23, 2])],
          ]),
        ),
      ),
    ).toBe('accepted');
  });

  it('may be severed of its install sequence when the envelope carries it', () => {
    const install = bytesOf(mapOf(MANIFEST).get(20));
    const severed = withMembers([[20, [-16, sha256(encodeCbor(install))]]]);
    expect(codeOf(decodeManifest(severed, new Map([[20, install]])))).toBe('accepted');
    expect(codeOf(decodeManifest(severed))).toBe('envelope-malformed');
    expect(codeOf(decodeManifest(severed, new Map([[20, install.with(3, 99)]])))).toBe('envelope-digest-mismatch');
  });

  it('may carry text for people, severed or not, left out or not; a changed one is refused', () => {
    const text = encodeCbor(new Map([['en', new Map([[1, 'Fixes the doorbell.']])]]));
    const severed = withMembers([[23, [-16, sha256(encodeCbor(text))]]]);
    expect(codeOf(decodeManifest(withMembers([[23, text]])))).toBe('accepted');
    expect(codeOf(decodeManifest(severed))).toBe('accepted');
    expect(codeOf(decodeManifest(severed, new Map([[23, text]])))).toBe('accepted');
    expect(codeOf(decodeManifest(severed, new Map([[23, text.with(5, 0)]])))).toBe('envelope-digest-mismatch');
  });

  it('refuses an element in the envelope that no digest in the manifest covers', () => {
    expect(codeOf(decodeManifest(MANIFEST, new Map([[16, new Uint8Array(3)]])))).toBe('envelope-digest-mismatch');
    expect(codeOf(decodeManifest(MANIFEST, new Map([[20, bytesOf(mapOf(MANIFEST).get(20))]])))).toBe(
      'envelope-digest-mismatch',
    );
  });

  it.each<[string, Partial<ManifestDescription>]>([
    ['sequence 0', { sequence: 0 }],
    ['a floor above the sequence', { floorSequence: 3 }],
    ['no image', { images: [] }],
    ['a component twice', { images: [...DESCRIPTION.images, ...DESCRIPTION.images] }],
    ['a channel that is no name', { channel: 'Stable!' }],
    ['a version with a space', { version: '2 0' }],
    ['no reason for having no agent', { withoutAgent: '' }],
    ['a reason of two lines', { withoutAgent: 'because\nof this' }],
    ['a reason of 201 characters', { withoutAgent: 'a'.repeat(201) }],
  ])('is never made with %s', (_what, change) => {
    expect(() => encodeManifest({ ...DESCRIPTION, ...change })).toThrow(RangeError);
  });

  it.each(['../boot.img', '/boot.img', 'a//b', 'https://elsewhere.example/boot.img', ''])(
    'is never made with the URI %j',
    (uri) => {
      const [boot] = DESCRIPTION.images;
      if (boot === undefined) throw new Error('no image');
      expect(() => encodeManifest({ ...DESCRIPTION, images: [{ ...boot, uri }] })).toThrow(RangeError);
    },
  );
});

describe('commands outside the set are refused by name', () => {
  it.each([
    [5, 'suit-condition-component-slot (5)'],
    [6, 'suit-condition-check-content (6)'],
    [14, 'suit-condition-abort (14)'],
    [15, 'suit-directive-try-each (15)'],
    [18, 'suit-directive-write (18)'],
    [22, 'suit-directive-copy (22)'],
    [24, 'suit-condition-device-identifier (24)'],
    [31, 'suit-directive-swap (31)'],
    [32, 'suit-directive-run-sequence (32)'],
    [13, 'an unregistered command (13)'],
    [-300, 'a custom command (-300)'],
  ])('%i', (command, name) => {
    for (const hostile of [withInstall([...INSTALL, command, 0]), withShared([...SHARED, command, 0])]) {
      expect(decodeManifest(hostile)).toMatchObject({ code: 'command-refused', detail: expect.stringContaining(name) });
    }
  });

  it('also when a parameter before them would be refused for itself', () => {
    const hostile = withInstall([12, 0, 20, new Map([[22, 0]]), 22, 2]);
    expect(codeOf(decodeManifest(hostile))).toBe('command-refused');
  });
});

describe('what is not the profile: envelope-malformed', () => {
  const digest = encodeCbor([-16, sha256(utf8('other'))]);
  it.each<[string, Uint8Array]>([
    ['another manifest version', withMembers([[1, 2]])],
    ['no sequence number', withMembers([[2, undefined]])],
    ['a negative sequence number', withMembers([[2, -1]])],
    ['an unknown member', withMembers([[99, 1]])],
    ['a load sequence', withMembers([[8, encodeCbor([12, 0, 3, 15])]])],
    ['a payload-fetch sequence', withMembers([[16, encodeCbor([12, 0, 21, 15])]])],
    ['no validate sequence', withMembers([[7, undefined]])],
    ['no install sequence', withMembers([[20, undefined]])],
    ['no facts of ours', withMembers([[-257, undefined]])],
    ['facts that are no map', withMembers([[-257, encodeCbor([1])]])],
    [
      'a fact more',
      withMembers([
        [
          -257,
          encodeCbor(
            new Map<number, CborValue>([
              [1, 'stable'],
              [2, '2'],
              [3, 0],
              [4, 0],
              [5, 0],
            ]),
          ),
        ],
      ]),
    ],
    [
      'a fact of another type',
      withMembers([
        [
          -257,
          encodeCbor(
            new Map<number, CborValue>([
              [1, 'stable'],
              [2, '2'],
              [3, '0'],
              [4, 0],
            ]),
          ),
        ],
      ]),
    ],
    ['dependencies', withCommon(1, [])],
    ['no components', withCommon(2, undefined)],
    [
      'seventeen components',
      withCommon(
        2,
        Array.from({ length: 17 }, (_, i) => [utf8(`c${i}`)]),
      ),
    ],
    ['a component identifier of two segments', withCommon(2, [[utf8('a'), utf8('b')], [utf8('rootfs')]])],
    ['a component name that is not UTF-8', withCommon(2, [[Uint8Array.of(0xff)], [utf8('rootfs')]])],
    ['a component name with a slash', withCommon(2, [[utf8('../boot')], [utf8('rootfs')]])],
    ['a component that nobody describes', withCommon(2, [...(COMMON.get(2) as CborValue[]), [utf8('extra')]])],
    [
      'a sequence over two components that does not begin with an index',
      withShared([20, new Map([[14, 4096]]), ...SHARED]),
    ],
    ['an odd number of items in a sequence', withInstall([...INSTALL, 3])],
    ['an empty sequence', withInstall([])],
    ['a command that is text', withInstall([...INSTALL, 'x', 0])],
    ['a reporting policy of 16', withInstall([...INSTALL, 3, 16])],
    ['a component index beyond the end', withInstall([...INSTALL, 12, 2])],
    ['a component index of false', withInstall([...INSTALL, 12, false])],
    ['an unknown parameter', withInstall([...INSTALL, 20, new Map([[22, 0]])])],
    ['a second, different digest on install', withInstall([12, 0, 20, new Map([[3, digest]]), ...INSTALL])],
    ['a second, different size', withInstall([12, 0, 20, new Map([[14, 1]]), ...INSTALL])],
    ['a second, different URI', withInstall([...INSTALL, 20, new Map([[21, 'other.img']])])],
    ['a digest of another algorithm', withShared([12, 0, 20, new Map([[3, encodeCbor([-44, new Uint8Array(64)])]])])],
    ['a vendor identifier of 15 bytes', withShared([12, 0, 20, new Map([[1, new Uint8Array(15)]])])],
    ['a match before the digest is set', withShared([12, true, 3, 15, ...SHARED])],
    ['a fetch after the last match', withInstall([...INSTALL, 21, 2])],
    ['an install without a match', withInstall(INSTALL.filter((_, i) => i < 6))],
    ['a validation that leaves out a component', withValidate(VALIDATE.slice(0, 4))],
    ['no vendor condition', withShared(dropCommand(SHARED, 1))],
    ['no class condition', withShared(dropCommand(SHARED, 2))],
  ])('%s', (_what, hostile) => {
    expect(codeOf(decodeManifest(hostile))).toBe('envelope-malformed');
  });

  const parameter = (label: number, value: CborValue) => withShared([12, 0, 20, new Map([[label, value]]), ...SHARED]);
  it.each<[string, Uint8Array, string]>([
    ['a manifest that is no map', encodeCbor([1]), 'the manifest is no map'],
    ['a common member that is no byte string', withMembers([[3, 1]]), 'the common member is no byte string'],
    ['a common member that holds no map', withMembers([[3, encodeCbor([1])]]), 'the common member holds no map'],
    ['components that are no list', withCommon(2, 1), 'there are no components'],
    ['an empty list of components', withCommon(2, []), 'there are no components'],
    [
      'seventeen components',
      withCommon(
        2,
        Array.from({ length: 17 }, (_, i) => [utf8(`c${i}`)]),
      ),
      'more than 16 components',
    ],
    ['a component that is text', withCommon(2, [['boot'], [utf8('rootfs')]]), 'no array of byte strings'],
    ['a component of no segments', withCommon(2, [[], [utf8('rootfs')]]), 'no array of byte strings'],
    ['a shared sequence that is no byte string', withCommon(4, [1]), 'the shared sequence is no byte string'],
    ['a sequence that holds no array', withMembers([[7, encodeCbor(1)]]), 'the validate sequence is no array'],
    [
      '513 commands',
      withValidate(Array.from({ length: 1026 }, (_, i) => (i % 2 === 0 ? 12 : 0))),
      'more than 512 commands',
    ],
    [
      'a member severed that may not be',
      withMembers([[7, [-16, new Uint8Array(32)]]]),
      'neither a byte string nor a digest',
    ],
    ['our facts as text', withMembers([[-257, 'stable']]), 'member -257 is no byte string'],
    ['a size that is text', parameter(14, '4096'), 'sets a size that is none'],
    ['a negative size', parameter(14, -1), 'sets a size that is none'],
    ['a URI that is bytes', parameter(21, utf8('a.img')), 'sets a URI that is no text'],
    ['a vendor identifier that is text', parameter(1, 'sixteen letters!'), 'sets vendorId to what is none'],
    ['a digest that is not wrapped', parameter(3, [-16, new Uint8Array(32)]), 'sets imageSha256 to what is none'],
    ['a digest of garbage', parameter(3, Uint8Array.of(0xff)), 'sets imageSha256 to what is none'],
    ['an override that is no map', withInstall([12, 0, 20, 1]), 'overrides with what is no map'],
  ])('%s, and says so', (_what, hostile, detail) => {
    expect(decodeManifest(hostile)).toMatchObject({
      code: 'envelope-malformed',
      detail: expect.stringContaining(detail),
    });
  });

  it.each([
    ['the common member', withMembers([[3, Uint8Array.of(0xa1)]])],
    ['the shared sequence', withCommon(4, Uint8Array.of(0x82, 0x01))],
    ['our facts', withMembers([[-257, Uint8Array.of(0xa1)]])],
  ])('garbage in %s is cbor-malformed', (_where, hostile) => {
    expect(codeOf(decodeManifest(hostile))).toBe('cbor-malformed');
  });

  it('a class condition for the first component only', () => {
    const identity = new Map<number, CborValue>([
      [1, vendorIdentifier('acme.example')],
      [2, classIdentifier('acme.example', 'acme-cam')],
    ]);
    const rest = SHARED.slice(8);
    expect(codeOf(decodeManifest(withShared([12, true, 20, identity, 1, 15, 2, 15, ...rest])))).toBe('accepted');
    expect(codeOf(decodeManifest(withShared([12, true, 20, identity, 12, 0, 1, 15, 2, 15, ...rest])))).toBe(
      'envelope-malformed',
    );
  });
});

function dropCommand(sequence: readonly CborValue[], command: number): CborValue[] {
  return sequence.filter((_, i) => sequence[i - (i % 2)] !== command);
}

it('refuses bytes that are no CBOR, or loose CBOR', () => {
  expect(codeOf(decodeManifest(MANIFEST.slice(0, -1)))).toBe('cbor-malformed');
  expect(codeOf(decodeManifest(withMembers([[20, Uint8Array.of(0x81, 0x18, 0x03)]])))).toBe('cbor-not-deterministic');
});
