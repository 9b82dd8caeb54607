import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CborTag, type CborValue, encodeCbor } from '../../../../trust/cbor.ts';
import {
  decodeEnvelope,
  encodeEnvelope,
  manifestDigest,
  verifyManifestDigest,
} from '../../../../trust/suit/envelope.ts';
import { codeOf, flipBit, KEYS, makeRelease, signManifest, testImage, unwrap } from '../release-fixture.ts';

const { manifest, envelope: ENVELOPE } = makeRelease({ images: { boot: testImage('boot', 64) } });
const SIGNATURE = signManifest(manifest, KEYS.camAuthor);
const WRAPPER = encodeCbor([manifestDigest(manifest), SIGNATURE]);

function envelopeOf(members: readonly (readonly [number | string, CborValue])[], tag = 107): Uint8Array {
  return encodeCbor(new CborTag(tag, new Map(members)));
}

describe('an envelope', () => {
  it('gives back manifest, digest and signatures as received', () => {
    const envelope = unwrap(decodeEnvelope(ENVELOPE));
    expect(envelope.manifest).toEqual(manifest);
    expect(envelope.digestBytes).toEqual(manifestDigest(manifest));
    expect(envelope.signatures).toHaveLength(1);
    expect(unwrap(verifyManifestDigest(envelope))).toEqual(manifest);
  });

  it('is the same when taken apart and put together by hand', () => {
    expect(
      envelopeOf([
        [2, WRAPPER],
        [3, manifest],
      ]),
    ).toEqual(ENVELOPE);
  });

  it('refuses a manifest that is not what the digest states', () => {
    const envelope = unwrap(decodeEnvelope(ENVELOPE));
    expect(codeOf(verifyManifestDigest({ ...envelope, manifest: flipBit(manifest, 3) }))).toBe(
      'envelope-digest-mismatch',
    );
  });

  it.each<[string, Uint8Array]>([
    ['no map', encodeCbor(new CborTag(107, []))],
    [
      'untagged',
      encodeCbor(
        new Map<number, CborValue>([
          [2, WRAPPER],
          [3, manifest],
        ]),
      ),
    ],
    ['no authentication wrapper', envelopeOf([[3, manifest]])],
    ['no manifest', envelopeOf([[2, WRAPPER]])],
    [
      'an unknown element',
      envelopeOf([
        [2, WRAPPER],
        [3, manifest],
        [4, new Uint8Array(1)],
      ]),
    ],
    [
      'a delegation chain',
      envelopeOf([
        [1, new Uint8Array(1)],
        [2, WRAPPER],
        [3, manifest],
      ]),
    ],
    [
      'an integrated payload',
      envelopeOf([
        [2, WRAPPER],
        [3, manifest],
        ['#boot', new Uint8Array(1)],
      ]),
    ],
    [
      'an element that is no byte string',
      envelopeOf([
        [2, WRAPPER],
        [3, 1],
      ]),
    ],
    [
      'a wrapper that is no array',
      envelopeOf([
        [2, encodeCbor(1)],
        [3, manifest],
      ]),
    ],
    [
      'an empty wrapper',
      envelopeOf([
        [2, encodeCbor([])],
        [3, manifest],
      ]),
    ],
    [
      'a digest of another algorithm',
      envelopeOf([
        [2, encodeCbor([encodeCbor([-44, new Uint8Array(64)])])],
        [3, manifest],
      ]),
    ],
    [
      'a digest of 31 bytes',
      envelopeOf([
        [2, encodeCbor([encodeCbor([-16, new Uint8Array(31)])])],
        [3, manifest],
      ]),
    ],
    [
      'a signature block that is no byte string',
      envelopeOf([
        [2, encodeCbor([manifestDigest(manifest), 1])],
        [3, manifest],
      ]),
    ],
    ['nine signatures', encodeEnvelope({ manifest, signatures: Array.from({ length: 9 }, () => SIGNATURE) })],
  ])('refuses %s', (_what, bytes) => {
    expect(codeOf(decodeEnvelope(bytes))).toBe('envelope-malformed');
  });

  it('refuses another tag, loose CBOR, and more than 64 KiB', () => {
    expect(
      codeOf(
        decodeEnvelope(
          envelopeOf(
            [
              [2, WRAPPER],
              [3, manifest],
            ],
            1070,
          ),
        ),
      ),
    ).toBe('cbor-malformed');
    // 0xd8 6b is the tag in its shortest form, 0xd9 00 6b is not.
    expect(codeOf(decodeEnvelope(Uint8Array.of(0xd9, 0x00, 0x6b, ...ENVELOPE.slice(2))))).toBe(
      'cbor-not-deterministic',
    );
    expect(codeOf(decodeEnvelope(new Uint8Array(64 * 1024 + 1)))).toBe('input-too-large');
  });

  it('never throws, whatever bits are flipped', () => {
    fc.assert(
      fc.property(fc.nat(ENVELOPE.length - 1), fc.nat(7), (at, bit) => {
        decodeEnvelope(flipBit(ENVELOPE, at, bit));
      }),
      { numRuns: 500 },
    );
  });
});
