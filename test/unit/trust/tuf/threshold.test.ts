import { describe, expect, it } from 'vitest';
import { hex } from '../../../../trust/bytes.ts';
import {
  decodeMetadata,
  encodeMetadata,
  signedBytes,
  tallySignatures,
  verifyThreshold,
} from '../../../../trust/tuf/metadata.ts';
import {
  codeOf,
  draftTestRoot,
  flipBit,
  KEYS,
  signTestMetadata,
  type TestKey,
  TestRepository,
  unwrap,
} from '../release-fixture.ts';

const ROOT = draftTestRoot();
const [first, second, third] = KEYS.targets;
const TARGETS = new TestRepository().publish().targets;
if (TARGETS === undefined) throw new Error('no targets');

function fileBy(signers: readonly TestKey[]) {
  return unwrap(
    decodeMetadata('targets', signTestMetadata(TARGETS as NonNullable<typeof TARGETS>, signers), {
      canonicalForm: 'required',
    }),
  );
}

describe('the tally', () => {
  it('sorts signers into valid, invalid, unknown and repeated', () => {
    const bytes = signedBytes(TARGETS);
    const bad = hex(flipBit(second.sign(bytes), 3));
    const encoded = encodeMetadata(TARGETS, [
      { keyid: first.keyId, sig: hex(first.sign(bytes)) },
      { keyid: first.keyId, sig: hex(first.sign(bytes)) },
      { keyid: second.keyId, sig: bad },
      { keyid: KEYS.stranger.keyId, sig: hex(KEYS.stranger.sign(bytes)) },
      { keyid: third.keyId, sig: '' },
    ]);
    const file = unwrap(decodeMetadata('targets', encoded, { canonicalForm: 'required' }));
    expect(tallySignatures(ROOT, 'targets', file)).toEqual({
      threshold: 2,
      valid: [first.keyId],
      invalid: [second.keyId, third.keyId],
      unknown: [KEYS.stranger.keyId],
      repeated: [first.keyId],
    });
  });

  it('does not count a signature of one key under the id of another', () => {
    const swapped = { ...first, keyId: second.keyId };
    expect(tallySignatures(ROOT, 'targets', fileBy([swapped])).invalid).toEqual([second.keyId]);
  });
});

describe('the threshold', () => {
  it.each<[string, readonly TestKey[], string]>([
    ['nobody', [], 'metadata-threshold-not-met'],
    ['one', [first], 'metadata-threshold-not-met'],
    ['one twice', [first, first], 'metadata-threshold-not-met'],
    ['one and one wrongly', [first, { ...first, keyId: second.keyId }], 'metadata-signature-invalid'],
    ['two', [first, third], 'accepted'],
    ['two and one wrongly', [first, third, { ...first, keyId: second.keyId }], 'accepted'],
    ['two, and one of them twice', [first, third, first], 'json-malformed'],
    ['all', KEYS.targets, 'accepted'],
  ])('%s signed: %s', (_who, signers, code) => {
    expect(codeOf(verifyThreshold(ROOT, 'targets', fileBy(signers)))).toBe(code);
  });

  it('of one role does not serve another', () => {
    const roles = { ...ROOT.roles, snapshot: ROOT.roles.timestamp };
    expect(codeOf(verifyThreshold(ROOT, 'snapshot', fileBy(KEYS.snapshot)))).toBe('accepted');
    expect(codeOf(verifyThreshold({ ...ROOT, roles }, 'snapshot', fileBy(KEYS.snapshot)))).toBe(
      'metadata-threshold-not-met',
    );
  });
});
