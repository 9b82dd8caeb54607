import { describe, expect, it } from 'vitest';
import { hex, unhex } from '../../../trust/bytes.ts';
import { CborTag, type CborValue, decodeCbor, encodeCbor } from '../../../trust/cbor.ts';
import { encodeSign1, sigStructure } from '../../../trust/cose.ts';
import { findTarget, type ReleaseCheck, verifyRelease } from '../../../trust/release.ts';
import { encodeEnvelope, manifestDigest } from '../../../trust/suit/envelope.ts';
import { encodeManifest } from '../../../trust/suit/manifest.ts';
import type { ReleaseEntry } from '../../../trust/tuf/metadata.ts';
import {
  codeOf,
  DEVICE,
  flipBit,
  KEYS,
  makeRelease,
  type ReleaseOptions,
  signManifest,
  type TestRelease,
  TestRepository,
  testImage,
  unwrap,
} from './release-fixture.ts';

const SMALL = { boot: testImage('boot', 512), rootfs: testImage('rootfs', 4096) };

function checkOf(release: TestRelease, changes: Partial<ReleaseCheck> = {}): ReleaseCheck {
  const repository = new TestRepository().add(release).publish();
  return {
    root: repository.verifiedRoot(),
    targets: repository.verifiedTargets(),
    releasePath: release.releasePath,
    envelope: release.envelope,
    device: DEVICE,
    installedSequence: 1,
    floorSequence: 0,
    ...changes,
  };
}

function verdictOn(options: ReleaseOptions, changes: Partial<ReleaseCheck> = {}): string {
  return codeOf(verifyRelease(checkOf(makeRelease({ images: SMALL, ...options }), changes)));
}

function firstImage(release: TestRelease): ReleaseEntry['images'][number] {
  const image = release.entry.images[0];
  if (image === undefined) throw new Error('a release without images');
  return image;
}

describe('a release that fits', () => {
  it('accepts a release signed by targets keys and an author of its class', () => {
    const release = makeRelease({ images: SMALL });
    const verified = unwrap(verifyRelease(checkOf(release)));
    expect(verified).toMatchObject({
      ...{ releasePath: release.releasePath, hardwareClass: 'acme-cam', channel: 'stable', sequence: 2 },
      authorKeyId: KEYS.camAuthor.authorId,
    });
    expect(verified.images.map(({ component, sizeBytes }) => [component, sizeBytes])).toEqual([
      ['boot', 512],
      ['rootfs', 4096],
    ]);
  });

  it('accepts an ESP256 author whose scope is every class', () => {
    expect(verdictOn({ authors: [KEYS.anyAuthor] })).toBe('accepted');
  });

  it('accepts a signature by a stranger beside one by a known author', () => {
    expect(verdictOn({ authors: [KEYS.stranger, KEYS.camAuthor] })).toBe('accepted');
  });

  it('names the author in scope when several signed', () => {
    const release = makeRelease({ images: SMALL, authors: [KEYS.hubAuthor, KEYS.camAuthor] });
    expect(unwrap(verifyRelease(checkOf(release))).authorKeyId).toBe(KEYS.camAuthor.authorId);
  });

  it('accepts a release for another class on a device of that class', () => {
    expect(verdictOn({ hardwareClass: 'acme-hub' }, { device: { ...DEVICE, hardwareClass: 'acme-hub' } })).toBe(
      'accepted',
    );
  });

  it('hands the author’s exception on, and only his: nothing of it stands in the targets', () => {
    const withoutAgent = 'this class leaves the fleet';
    const told = makeRelease({ images: SMALL, manifest: { withoutAgent } });
    expect(unwrap(verifyRelease(checkOf(told)))).toMatchObject({ withoutAgent });
    expect(JSON.stringify(told.entry)).not.toContain(withoutAgent);
    expect(unwrap(verifyRelease(checkOf(makeRelease({ images: SMALL }))))).not.toHaveProperty('withoutAgent');
  });

  it('accepts a sequence equal to the floor', () => {
    expect(verdictOn({ sequence: 5 }, { floorSequence: 5 })).toBe('accepted');
  });
});

describe('what the targets list', () => {
  it('refuses a path that the targets do not list', () => {
    expect(
      codeOf(verifyRelease(checkOf(makeRelease({ images: SMALL }), { releasePath: 'releases/x/release.suit' }))),
    ).toBe('target-unknown');
  });

  it('refuses a name that every object inherits', () => {
    expect(codeOf(verifyRelease(checkOf(makeRelease({ images: SMALL }), { releasePath: 'constructor' })))).toBe(
      'target-unknown',
    );
  });

  it('refuses a listed file that is no release', () => {
    const release = makeRelease({ images: SMALL });
    expect(codeOf(verifyRelease(checkOf(release, { releasePath: firstImage(release).image })))).toBe('target-unknown');
  });

  it('refuses an envelope of more than 64 KiB', () => {
    const release = makeRelease({ images: SMALL });
    expect(codeOf(verifyRelease(checkOf(release, { envelope: new Uint8Array(64 * 1024 + 1) })))).toBe(
      'input-too-large',
    );
  });

  it('refuses an envelope with one flipped bit, wherever it is', () => {
    const release = makeRelease({ images: SMALL });
    for (let at = 0; at < release.envelope.length; at += 37) {
      const check = checkOf(release, { envelope: flipBit(release.envelope, at, at % 8) });
      expect(codeOf(verifyRelease(check))).toBe('envelope-digest-mismatch');
    }
  });

  it('refuses an envelope that is cut short', () => {
    const release = makeRelease({ images: SMALL });
    expect(codeOf(verifyRelease(checkOf(release, { envelope: release.envelope.slice(0, -1) })))).toBe(
      'envelope-digest-mismatch',
    );
  });

  it('says that an envelope has another length before it says that it has another digest', () => {
    const release = makeRelease({ images: SMALL });
    const verdict = verifyRelease(checkOf(release, { envelope: release.envelope.slice(1) }));
    expect(verdict).toMatchObject({ detail: expect.stringContaining('bytes of envelope') });
  });

  it.each<[string, Uint8Array, string]>([
    ['no CBOR', Uint8Array.of(0xff), 'cbor-malformed'],
    ['no envelope', Uint8Array.of(0x80), 'envelope-malformed'],
    ['loose CBOR', Uint8Array.of(0x18, 0x01), 'cbor-not-deterministic'],
  ])('refuses a listed envelope that is %s', (_what, bytes, code) => {
    expect(verdictOn({ envelope: () => bytes })).toBe(code);
  });

  it('refuses a command outside the set in a manifest that is signed and listed', () => {
    const { description } = makeRelease({ images: SMALL });
    const manifest = unwrap(decodeCbor(encodeManifest(description), { capBytes: 4096 }));
    if (!(manifest instanceof Map)) throw new Error('no manifest');
    const hostile = encodeCbor(new Map([...manifest, [9, encodeCbor([12, 0, 22, 2])]]));
    const envelope = encodeEnvelope({ manifest: hostile, signatures: [signManifest(hostile, KEYS.camAuthor)] });
    expect(verdictOn({ envelope: () => envelope })).toBe('command-refused');
  });

  it('finds a target and where it is served', () => {
    const release = makeRelease({ images: SMALL });
    const { targets } = checkOf(release);
    const { image, sha256, sizeBytes } = firstImage(release);
    expect(unwrap(findTarget(targets, image))).toEqual({
      ...{ sizeBytes, sha256 },
      consistentPath: `releases/acme-cam/stable/2/${sha256}.boot.img`,
    });
    expect(codeOf(findTarget(targets, 'nothing'))).toBe('target-unknown');
  });
});

describe('who signed the envelope, when the targets keys list whatever they are given', () => {
  it('refuses an envelope without a signature', () => {
    expect(verdictOn({ authors: [] })).toBe('envelope-unsigned');
  });

  it('refuses an author whom the root does not name', () => {
    expect(verdictOn({ authors: [KEYS.stranger] })).toBe('author-unknown');
  });

  it('refuses an author key that is limited to another hardware class', () => {
    expect(verdictOn({ authors: [KEYS.hubAuthor] })).toBe('author-out-of-scope');
  });

  it('refuses a manifest that was changed after it was signed', () => {
    const changed = encodeManifest(makeRelease({ images: SMALL, sequence: 3 }).description);
    const swap = (envelope: Uint8Array): Uint8Array => withElement(envelope, 3, () => changed);
    expect(verdictOn({ envelope: swap })).toBe('envelope-digest-mismatch');
    expect(verdictOn({ envelope: (envelope) => withElement(envelope, 3, (same) => same) })).toBe('accepted');
  });

  it('refuses a digest that was changed together with the manifest', () => {
    const changed = encodeManifest(makeRelease({ images: SMALL, sequence: 3 }).description);
    const swap = (envelope: Uint8Array): Uint8Array =>
      withElement(
        withElement(envelope, 3, () => changed),
        2,
        (wrapper) => withDigest(wrapper, manifestDigest(changed)),
      );
    expect(verdictOn({ envelope: swap })).toBe('envelope-signature-invalid');
  });

  it('refuses a signature with one flipped bit', () => {
    expect(verdictOn({ envelope: (envelope) => withSignature(envelope, (bytes) => flipBit(bytes, 5)) })).toBe(
      'envelope-signature-invalid',
    );
  });

  it('refuses a known author whose signature does not verify, beside one that does', () => {
    const release = makeRelease({ images: SMALL, authors: [KEYS.camAuthor, KEYS.anyAuthor] });
    const flipped = (envelope: Uint8Array): Uint8Array => withSignature(envelope, (bytes) => flipBit(bytes, 5));
    expect(codeOf(verifyRelease(checkOf(release)))).toBe('accepted');
    expect(verdictOn({ authors: [KEYS.camAuthor, KEYS.anyAuthor], envelope: flipped })).toBe(
      'envelope-signature-invalid',
    );
  });

  it.each([
    [-9, 'signature-algorithm-refused'],
    [-8, 'signature-algorithm-refused'],
    [-7, 'signature-algorithm-refused'],
    [-19, 'accepted'],
  ])('an Ed25519 author that signs under algorithm %i: %s', (algorithm, code) => {
    expect(
      verdictOn({
        envelope: () =>
          signedUnder(
            new Map<number, CborValue>([
              [1, algorithm],
              [4, camKeyId()],
            ]),
          ),
      }),
    ).toBe(code);
  });

  it('refuses a signature without a key id', () => {
    expect(verdictOn({ envelope: () => signedUnder(new Map([[1, -19]])) })).toBe('envelope-malformed');
  });
});

function camKeyId(): Uint8Array {
  return unhex(KEYS.camAuthor.authorId) ?? new Uint8Array(0);
}

/** The good manifest, signed by its author under a protected header of our choice. */
function signedUnder(header: Map<number, CborValue>): Uint8Array {
  const { manifest } = makeRelease({ images: SMALL });
  const protectedBytes = encodeCbor(header);
  const signature = KEYS.camAuthor.sign(sigStructure(protectedBytes, new Uint8Array(0), manifestDigest(manifest)));
  return encodeEnvelope({ manifest, signatures: [encodeSign1({ protectedBytes, signature })] });
}

function withElement(envelope: Uint8Array, key: number, change: (bytes: Uint8Array) => Uint8Array): Uint8Array {
  const outer = unwrap(decodeCbor(envelope, { capBytes: envelope.length, tags: [107] }));
  if (!(outer instanceof CborTag) || !(outer.value instanceof Map)) throw new Error('no envelope');
  const before = outer.value.get(key);
  if (!(before instanceof Uint8Array)) throw new Error(`no element ${key}`);
  return encodeCbor(new CborTag(107, new Map([...outer.value, [key, change(before)]])));
}

function withDigest(wrapper: Uint8Array, digest: Uint8Array): Uint8Array {
  const items = unwrap(decodeCbor(wrapper, { capBytes: wrapper.length }));
  if (!Array.isArray(items)) throw new Error('no wrapper');
  return encodeCbor([digest, ...items.slice(1)]);
}

/** Changes the signature bytes of the first COSE_Sign1. */
function withSignature(envelope: Uint8Array, change: (signature: Uint8Array) => Uint8Array): Uint8Array {
  return withElement(envelope, 2, (wrapper) => {
    const items = unwrap(decodeCbor(wrapper, { capBytes: wrapper.length }));
    if (!Array.isArray(items) || !(items[1] instanceof Uint8Array)) throw new Error('no signature');
    const sign1 = unwrap(decodeCbor(items[1], { capBytes: 4096, tags: [18] }));
    if (!(sign1 instanceof CborTag) || !Array.isArray(sign1.value)) throw new Error('no COSE_Sign1');
    const [header, outside, payload, signature] = sign1.value;
    if (!(signature instanceof Uint8Array)) throw new Error('no signature bytes');
    const changed = encodeCbor(new CborTag(18, [header, outside, payload, change(signature)]));
    return encodeCbor([items[0], changed, ...items.slice(2)]);
  });
}

describe('fit to the device', () => {
  it('refuses a release for another vendor', () => {
    expect(verdictOn({}, { device: { ...DEVICE, vendor: 'other.example' } })).toBe('vendor-mismatch');
  });

  it('refuses a genuine release for another hardware class', () => {
    expect(verdictOn({ hardwareClass: 'acme-hub' })).toBe('class-mismatch');
  });

  it('refuses a release for another class that TUF lists under the device’s own class: the class, not the disagreement', () => {
    const entry = { hardwareClass: 'acme-cam' };
    expect(verdictOn({ hardwareClass: 'acme-hub', entry })).toBe('class-mismatch');
  });

  it('refuses a release for another channel', () => {
    expect(verdictOn({ channel: 'beta' })).toBe('channel-mismatch');
    expect(verdictOn({ channel: 'beta' }, { device: { ...DEVICE, channel: 'beta' } })).toBe('accepted');
  });

  it.each([
    [2, 'sequence-not-newer'],
    [3, 'sequence-not-newer'],
    [1, 'accepted'],
  ])('sequence 2 over installed %i: %s', (installedSequence, code) => {
    expect(verdictOn({ sequence: 2 }, { installedSequence })).toBe(code);
  });

  it('refuses a sequence below the floor that the device has reached', () => {
    expect(verdictOn({ sequence: 4 }, { installedSequence: 1, floorSequence: 5 })).toBe('sequence-below-floor');
  });
});

describe('agreement of TUF and SUIT', () => {
  const release = makeRelease({ images: SMALL });
  const image = firstImage(release);
  const others = release.entry.images.slice(1);
  const suitOf = ({ component, sizeBytes, sha256, image: uri }: typeof image) => ({
    component,
    sizeBytes,
    sha256,
    uri,
  });
  const zeros = '0'.repeat(64);

  it.each<[string, ReleaseOptions]>([
    ['vendor', { entry: { vendor: 'other.example' } }],
    ['hardware class', { entry: { hardwareClass: 'acme-hub' } }],
    ['channel', { entry: { channel: 'beta' } }],
    ['version', { entry: { version: '2.0.1' } }],
    ['sequence', { entry: { sequence: 3 } }],
    ['floor', { entry: { floorSequence: 1 } }],
    ['build date', { entry: { buildUnixS: 1 } }],
    ['number of images', { entry: { images: others } }],
    ['component', { entry: { images: [{ ...image, component: 'other' }, ...others] } }],
    ['image size', { entry: { images: [{ ...image, sizeBytes: image.sizeBytes + 1 }, ...others] } }],
    ['image digest', { entry: { images: [{ ...image, sha256: zeros }, ...others] } }],
    ['image path', { manifest: { images: [{ ...suitOf(image), uri: 'elsewhere.img' }, ...others.map(suitOf)] } }],
    ['size in SUIT', { manifest: { images: [{ ...suitOf(image), sizeBytes: 1 }, ...others.map(suitOf)] } }],
    ['digest in SUIT', { manifest: { images: [{ ...suitOf(image), sha256: zeros }, ...others.map(suitOf)] } }],
  ])('refuses a different %s', (_fact, options) => {
    expect(verdictOn(options)).toBe('targets-suit-disagree');
  });

  it('refuses an image that the targets list with another digest than the release gives', () => {
    const hostile = makeRelease({ images: SMALL });
    const listed = hostile.files.get(image.image);
    if (listed === undefined) throw new Error('no image');
    const target = { ...listed.target, hashes: { sha256: zeros } };
    const files = new Map([...hostile.files, [image.image, { ...listed, target }]]);
    expect(codeOf(verifyRelease(checkOf({ ...hostile, files })))).toBe('targets-suit-disagree');
  });

  it.each([
    ['image', image.image],
    ['block map', image.blockMap],
  ])('refuses a release whose %s is not listed', (_what, path) => {
    const files = new Map([...release.files].filter(([name]) => name !== path));
    expect(codeOf(verifyRelease(checkOf({ ...release, files })))).toBe('target-unknown');
  });

  it('refuses a block map whose listed size is not what its image demands', () => {
    const listed = release.files.get(image.blockMap);
    if (listed === undefined) throw new Error('no block map');
    const target = { ...listed.target, length: listed.target.length + 32 };
    const files = new Map([...release.files, [image.blockMap, { ...listed, target }]]);
    expect(codeOf(verifyRelease(checkOf({ ...release, files })))).toBe('block-map-malformed');
  });

  it('says in its detail what each side says', () => {
    const verdict = verifyRelease(checkOf(makeRelease({ images: SMALL, entry: { version: '9.9.9' } })));
    expect(verdict).toMatchObject({ detail: 'version is 9.9.9 in TUF, 2.0.0 in SUIT' });
    expect(hex(new Uint8Array(1))).toBe('00');
  });
});
