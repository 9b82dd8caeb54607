import { describe, expect, it } from 'vitest';
import { hex, utf8 } from '../../../../trust/bytes.ts';
import { canonicalJson } from '../../../../trust/json.ts';
import {
  consistentPath,
  decodeMetadata,
  encodeMetadata,
  METADATA_CAP_BYTES,
  type RoleName,
  type Root,
  signedBytes,
  type Targets,
  tufKeyId,
  tufKeyOf,
  versionedName,
} from '../../../../trust/tuf/metadata.ts';
import {
  codeOf,
  draftTestRoot,
  KEYS,
  makeRelease,
  signTestMetadata,
  TestRepository,
  testImage,
  unwrap,
} from '../release-fixture.ts';

const REQUIRED = { canonicalForm: 'required' } as const;
const REPOSITORY = new TestRepository().add(makeRelease({ images: { boot: testImage('boot', 64) } })).publish();
const FILES: Readonly<Record<RoleName, Uint8Array>> = {
  root: REPOSITORY.file('1.root.json'),
  timestamp: REPOSITORY.file('timestamp.json'),
  snapshot: REPOSITORY.file('1.snapshot.json'),
  targets: REPOSITORY.file('1.targets.json'),
};

/** JSON that can be changed anywhere; written again in canonical form, unsigned changes and all. */
type Json = { [key: string]: Json } & Json[];
function changed(role: RoleName, change: (file: Json) => void): Uint8Array {
  const file = JSON.parse(new TextDecoder().decode(FILES[role]));
  change(file);
  return canonicalJson(file);
}

const set = (path: string, value: unknown) => (file: Json) => {
  const names = path.split('/');
  const last = names.pop() ?? '';
  let at: unknown = file;
  for (const name of names) at = (at as Record<string, unknown>)[name];
  if (value === undefined) delete (at as Record<string, unknown>)[last];
  else (at as Record<string, unknown>)[last] = value;
};

describe.each(Object.keys(FILES) as RoleName[])('decoding %s', (role) => {
  it('gives back what was encoded, and encodes to the same bytes again', () => {
    const { signed, signatures, signedBytes: covered } = unwrap(decodeMetadata(role, FILES[role], REQUIRED));
    expect(encodeMetadata(signed, signatures)).toEqual(FILES[role]);
    expect(covered).toEqual(signedBytes(signed));
  });

  it('tolerates, keeps and covers an unknown member of signed', () => {
    const bytes = changed(role, set('signed/x-later', { y: [1] }));
    const { signed, signedBytes: covered } = unwrap(decodeMetadata(role, bytes, REQUIRED));
    expect(signed).toHaveProperty('x-later', { y: [1] });
    expect(new TextDecoder().decode(covered)).toContain('"x-later":{"y":[1]}');
  });

  it.each<[string, (file: Json) => void]>([
    ['no signatures', set('signatures', undefined)],
    ['no signed', set('signed', undefined)],
    ['signatures that are no list', set('signatures', {})],
    [
      '33 signatures',
      set(
        'signatures',
        Array.from({ length: 33 }, () => ({ keyid: '0'.repeat(64), sig: '' })),
      ),
    ],
    ['a key id that is none', set('signatures/0/keyid', 'abc')],
    ['a signature that is no hexadecimal', set('signatures/0/sig', 'xyz')],
    ['another specification', set('signed/spec_version', '2.0.0')],
    ['version 0', set('signed/version', 0)],
    ['a version that is text', set('signed/version', '1')],
    ['a date without a zone', set('signed/expires', '2030-01-01T00:00:00')],
    ['a date that does not exist', set('signed/expires', '2030-02-30T00:00:00Z')],
  ])('refuses %s', (_what, change) => {
    expect(codeOf(decodeMetadata(role, changed(role, change), REQUIRED))).toBe('json-malformed');
  });

  it('refuses a file of another role', () => {
    const other = role === 'root' ? 'targets' : 'root';
    expect(codeOf(decodeMetadata(role, FILES[other], REQUIRED))).toBe('metadata-wrong-type');
  });

  it('refuses one byte beyond the cap without reading it', () => {
    expect(codeOf(decodeMetadata(role, new Uint8Array(METADATA_CAP_BYTES[role] + 1), REQUIRED))).toBe(
      'input-too-large',
    );
  });

  it('refuses a signed part that is not canonical, in required mode only', () => {
    const spaced = new TextDecoder().decode(FILES[role]).replace('"spec_version":', '"spec_version": ');
    expect(codeOf(decodeMetadata(role, utf8(spaced), REQUIRED))).toBe('json-not-canonical');
    const recomputed = unwrap(decodeMetadata(role, utf8(spaced), { canonicalForm: 'recomputed' }));
    expect(recomputed.signedBytes).toEqual(unwrap(decodeMetadata(role, FILES[role], REQUIRED)).signedBytes);
  });

  it('refuses a float, which has no canonical form', () => {
    const text = new TextDecoder().decode(changed(role, set('signed/x', 'HERE'))).replace('"HERE"', '1.5');
    expect(codeOf(decodeMetadata(role, utf8(text), REQUIRED))).toBe('json-not-canonical');
  });
});

describe('root', () => {
  const [first, second] = KEYS.root;
  const authors = REPOSITORY.root.holdfast.authors;
  const author = authors[0];
  const holdfast = (change: object) => set('signed/holdfast', { ...REPOSITORY.root.holdfast, ...change });
  const server = { url: 'https://a.example', mqttUrl: null, anchors: ['MIIB'] };

  it.each<[string, (file: Json) => void]>([
    ['an address and a line of base64 as anchor', holdfast({ servers: [server] })],
    ['no author', holdfast({ authors: [] })],
    ['an extra role', set('signed/roles/mirrors', { keyids: [], threshold: 1 })],
  ])('accepts %s', (_what, change) => {
    expect(codeOf(decodeMetadata('root', changed('root', change), REQUIRED))).toBe('accepted');
  });

  it.each<[string, (file: Json) => void]>([
    ['no consistent_snapshot', set('signed/consistent_snapshot', undefined)],
    ['a key under a wrong id', set(`signed/keys/${'0'.repeat(64)}`, tufKeyOf(first.publicKey))],
    ['a key of another type', set(`signed/keys/${first.keyId}/keytype`, 'rsa')],
    ['a key of 31 bytes', set(`signed/keys/${first.keyId}/keyval/public`, '00'.repeat(31))],
    ['a missing role', set('signed/roles/snapshot', undefined)],
    ['a role with an unknown key', set('signed/roles/snapshot/keyids', ['0'.repeat(64)])],
    ['a role that names a key twice', set('signed/roles/root/keyids', [first.keyId, first.keyId, second.keyId])],
    ['a threshold of 0', set('signed/roles/root/threshold', 0)],
    ['a threshold that nobody can reach', set('signed/roles/root/threshold', 4)],
    ['no Holdfast member', set('signed/holdfast', undefined)],
    ['an unknown Holdfast member', holdfast({ more: 1 })],
    ['an unknown environment', holdfast({ environment: 'staging' })],
    ['an author twice', holdfast({ authors: [author, author] })],
    ['an author under a wrong id', holdfast({ authors: [{ ...author, keyId: '0'.repeat(64) }] })],
    ['an author with an unknown member', holdfast({ authors: [{ ...author, note: '' }] })],
    ['an author of another algorithm', holdfast({ authors: [{ ...author, algorithm: 'esp256' }] })],
    ['an author without classes', holdfast({ authors: [{ ...author, hardwareClasses: [] }] })],
    ['an author of * and more', holdfast({ authors: [{ ...author, hardwareClasses: ['*', 'acme-cam'] }] })],
    [
      'an author who is also a targets key',
      holdfast({
        authors: [{ ...author, keyId: KEYS.targets[0].authorId, publicKey: hex(KEYS.targets[0].publicKey) }],
      }),
    ],
    ['a server with an unknown member', holdfast({ servers: [{ ...server, port: 1 }] })],
    ['an anchor that is no base64', holdfast({ servers: [{ ...server, anchors: ['-----BEGIN'] }] })],
    ['an escrow key that is none', holdfast({ escrowKeys: ['x'] })],
    ['an escrow key of 33 bytes', holdfast({ escrowKeys: [`${'11'.repeat(32)}00`] })],
    ['an escrow key of low order', holdfast({ escrowKeys: ['11'.repeat(32), `01${'00'.repeat(31)}`] })],
    ['an escrow key twice', holdfast({ escrowKeys: ['11'.repeat(32), '11'.repeat(32)] })],
    ['an escrow key with its top bit set', holdfast({ escrowKeys: ['11'.repeat(32), `${'11'.repeat(31)}91`] })],
  ])('refuses %s', (_what, change) => {
    expect(codeOf(decodeMetadata('root', changed('root', change), REQUIRED))).toBe('json-malformed');
  });

  it('of another project is read in the conformance mode, and names no author', () => {
    const bytes = changed('root', set('signed/holdfast', undefined));
    const { signed } = unwrap(decodeMetadata('root', bytes, { canonicalForm: 'recomputed' }));
    expect(signed.holdfast.authors).toEqual([]);
  });
});

describe('snapshot and timestamp', () => {
  it.each<[RoleName, string, (file: Json) => void]>([
    ['timestamp', 'more than the snapshot', set('signed/meta/other.json', { version: 1 })],
    ['timestamp', 'no snapshot', set('signed/meta', {})],
    ['snapshot', 'no targets', set('signed/meta', { 'other.json': { version: 1 } })],
    ['snapshot', 'a file that is no metadata', set('signed/meta/x', { version: 1 })],
    ['snapshot', 'a file without a version', set('signed/meta/targets.json', {})],
    ['snapshot', 'a negative length', set('signed/meta/targets.json', { version: 1, length: -1 })],
    [
      'snapshot',
      'hashes of an algorithm that we cannot check',
      set('signed/meta/targets.json', { version: 1, hashes: { md5: '00' } }),
    ],
    ['snapshot', 'no hash in its hashes', set('signed/meta/targets.json', { version: 1, hashes: {} })],
    [
      'snapshot',
      'a digest cut short',
      set('signed/meta/targets.json', { version: 1, hashes: { sha512: '0'.repeat(64) } }),
    ],
  ])('%s refuses %s', (role, _what, change) => {
    expect(codeOf(decodeMetadata(role, changed(role, change), REQUIRED))).toBe('json-malformed');
  });
});

describe('targets', () => {
  const entries = (REPOSITORY.targets as Targets).targets;
  const path = Object.keys(entries).find((name) => name.endsWith('.suit')) ?? '';
  const file = entries[path];
  const entry = file?.custom?.holdfast;
  const withEntry = (change: object) =>
    set('signed/targets', { [path]: { ...file, custom: { holdfast: { ...entry, ...change } } } });
  const withFile = (name: string, change: object) => set('signed/targets', { [name]: { ...file, ...change } });
  const image = entry?.kind === 'release' ? entry.images[0] : undefined;

  it.each<[string, (file: Json) => void]>([
    ['a file that is not ours to know', withFile('a/b.bin', { custom: { other: { x: 1 } } })],
    ['a file without custom', withFile('a/b.bin', { custom: undefined })],
    ['an unknown member of the file', withFile('a/b.bin', { note: 1 })],
    ['no files at all', set('signed/targets', {})],
  ])('accepts %s', (_what, change) => {
    expect(codeOf(decodeMetadata('targets', changed('targets', change), REQUIRED))).toBe('accepted');
  });

  it.each<[string, (file: Json) => void]>([
    ...['../a', '/a', 'a//b', 'a/./b', 'A', 'a b', `${'a'.repeat(257)}`].map(
      (name) => [`the path ${name.slice(0, 8)}`, withFile(name, {})] as [string, (file: Json) => void],
    ),
    ['a file without a length', withFile('a', { length: undefined })],
    ['a file without sha256', withFile('a', { hashes: { sha512: '0'.repeat(128) } })],
    ['a custom that is no object', withFile('a', { custom: 1 })],
    ['an unknown kind', withEntry({ kind: 'other' })],
    ['an image with a member more', withFile('a', { custom: { holdfast: { kind: 'image', x: 1 } } })],
    ['an unknown member of the entry', withEntry({ more: 1 })],
    ['a vendor that is no name', withEntry({ vendor: 'Acme Inc.' })],
    ['sequence 0', withEntry({ sequence: 0 })],
    ['a floor above the sequence', withEntry({ floorSequence: 3 })],
    ['a negative build date', withEntry({ buildUnixS: -1 })],
    ['no images', withEntry({ images: [] })],
    ['a component twice', withEntry({ images: [image, image] })],
    [
      'seventeen images',
      withEntry({ images: Array.from({ length: 17 }, (_, i) => ({ ...image, component: `c${i}` })) }),
    ],
    ['an image of no bytes', withEntry({ images: [{ ...image, sizeBytes: 0 }] })],
    ['an image beyond what a block map can name', withEntry({ images: [{ ...image, sizeBytes: 2 ** 40 }] })],
    ['an image path that leads out', withEntry({ images: [{ ...image, image: '../x' }] })],
    ['an image with a member more', withEntry({ images: [{ ...image, x: 1 }] })],
  ])('refuses %s', (_what, change) => {
    expect(codeOf(decodeMetadata('targets', changed('targets', change), REQUIRED))).toBe('json-malformed');
  });
});

it('key ids are the digest of the canonical key', () => {
  // The example key of the specification's root.json (§4.3).
  const key = tufKeyOf(
    Uint8Array.from(Buffer.from('72378e5bc588793e58f81c8533da64a2e8f1565c1fcc7f253496394ffc52542c', 'hex')),
  );
  expect(tufKeyId(key)).toBe('1bf1c6e3cdd3d3a8420b19199e27511999850f4b376c4547b2f32fba7e80fca3');
});

it('names of served files', () => {
  expect(versionedName('targets', 3)).toBe('3.targets.json');
  expect(consistentPath('a/b/c.img', 'ff')).toBe('a/b/ff.c.img');
  expect(consistentPath('c.img', 'ff')).toBe('ff.c.img');
});

it('a root that is signed is a root that decodes', () => {
  const root: Root = draftTestRoot();
  expect(codeOf(decodeMetadata('root', signTestMetadata(root, KEYS.root), REQUIRED))).toBe('accepted');
});
