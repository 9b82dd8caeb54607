import { describe, expect, it } from 'vitest';
import { encodeTufDate } from '../../../../trust/time.ts';
import type { TargetFile } from '../../../../trust/tuf/metadata.ts';
import {
  verifyInitialRoot,
  verifyNextRoot,
  verifySigned,
  verifyTargetsForPublication,
} from '../../../../trust/tuf/repository.ts';
import {
  codeOf,
  KEYS,
  makeRelease,
  NOW_UNIX_S,
  type PublishOptions,
  TestRepository,
  testImage,
} from '../release-fixture.ts';

const RELEASE = makeRelease({ images: { boot: testImage('boot', 64) } });

function publicationOf(options: PublishOptions = {}, files?: Record<string, TargetFile>) {
  const repository = new TestRepository().add(RELEASE).publish();
  const currentTargets = repository.verifiedTargets();
  const root = repository.verifiedRoot();
  repository.publish(files === undefined ? options : { ...options, targets: { ...options.targets, targets: files } });
  const version = repository.targets?.version ?? 0;
  return { root, currentTargets, candidate: repository.file(`${version}.targets.json`), time: repository.time() };
}

const FILES = Object.fromEntries([...RELEASE.files].map(([path, { target }]) => [path, target]));
const image = RELEASE.entry.images[0];
if (image === undefined) throw new Error('no image');
const without = (path: string) => Object.fromEntries(Object.entries(FILES).filter(([name]) => name !== path));
const listed = (path: string, change: Partial<TargetFile>) => ({
  ...FILES,
  [path]: { ...FILES[path], ...change } as TargetFile,
});

describe('targets before publication', () => {
  it('are accepted when a device would accept them', () => {
    expect(codeOf(verifyTargetsForPublication(publicationOf()))).toBe('accepted');
    expect(codeOf(verifyTargetsForPublication(publicationOf({}, FILES)))).toBe('accepted');
  });

  it.each<[string, PublishOptions, string]>([
    ['too few signatures', { signers: { targets: KEYS.targets.slice(0, 1) } }, 'metadata-threshold-not-met'],
    ['the version that is published already', { targets: { version: 1 } }, 'metadata-version-rollback'],
    ['an expiry in the past', { targets: { expires: encodeTufDate(NOW_UNIX_S) } }, 'metadata-expired'],
  ])('are refused with %s', (_what, options, code) => {
    expect(codeOf(verifyTargetsForPublication(publicationOf(options)))).toBe(code);
  });

  it.each<[string, Record<string, TargetFile>, string]>([
    ['an image is not listed', without(image.image), 'target-unknown'],
    ['a block map is not listed', without(image.blockMap), 'target-unknown'],
    ['an image is listed with another size', listed(image.image, { length: 1 }), 'targets-suit-disagree'],
    ['a block map is listed with a size that cannot be', listed(image.blockMap, { length: 1 }), 'block-map-malformed'],
    ['an envelope is listed beyond its cap', listed(RELEASE.releasePath, { length: 65537 }), 'input-too-large'],
  ])('are refused when %s', (_what, files, code) => {
    expect(codeOf(verifyTargetsForPublication(publicationOf({}, files)))).toBe(code);
  });
});

describe('roots', () => {
  const repository = new TestRepository().addRoot({});

  it('a first root is signed by its own threshold', () => {
    expect(codeOf(verifyInitialRoot(repository.file('1.root.json')))).toBe('accepted');
    const alone = new TestRepository().addRoot({}, KEYS.root.slice(0, 1));
    expect(codeOf(verifyInitialRoot(alone.file('2.root.json')))).toBe('metadata-threshold-not-met');
  });

  it('a next root is one version on and of the same environment', () => {
    const first = new TestRepository().verifiedRoot();
    expect(codeOf(verifyNextRoot(first, repository.file('2.root.json')))).toBe('accepted');
    expect(codeOf(verifyNextRoot(first, repository.file('1.root.json')))).toBe('root-chain-broken');
    const moved = new TestRepository().addRoot({ holdfast: { ...repository.root.holdfast, environment: 'lab' } });
    expect(codeOf(verifyNextRoot(first, moved.file('2.root.json')))).toBe('environment-mismatch');
  });

  it('verifySigned holds each role to its own keys', () => {
    const published = new TestRepository().publish();
    const root = published.verifiedRoot();
    expect(codeOf(verifySigned(root, 'timestamp', published.file('timestamp.json')))).toBe('accepted');
    expect(codeOf(verifySigned(root, 'snapshot', published.file('timestamp.json')))).toBe('metadata-wrong-type');
  });
});
