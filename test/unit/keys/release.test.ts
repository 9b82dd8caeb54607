import { appendFileSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readBaseMetadata } from '../../../keys/base-metadata.ts';
import { mapImage } from '../../../keys/image-map.ts';
import { openKey, readKeyFile } from '../../../keys/key-file.ts';
import { type BuildRequest, buildRelease } from '../../../keys/release-build.ts';
import { planPublication } from '../../../keys/release-publication.ts';
import { signRelease } from '../../../keys/release-sign.ts';
import type { SigningKey } from '../../../keys/signing-key.ts';
import { signMetadata } from '../../../keys/tuf-signing.ts';
import { BLOCK_BYTES, decodeBlockMap, verifyBlock } from '../../../trust/blocks.ts';
import { sha256Hex } from '../../../trust/crypto.ts';
import { verifyRelease } from '../../../trust/release.ts';
import { decodeMetadata, type Root } from '../../../trust/tuf/metadata.ts';
import { verifyInitialRoot, verifySigned } from '../../../trust/tuf/repository.ts';
import { faultCode, holdCeremony, NOW_UNIX_S, passphraseFor, workshop, writeImage } from './workshop.ts';

const CLASS = 'acme-cam';
let ceremony: string;
let images: { component: string; path: string }[];

beforeAll(async () => {
  ceremony = join(await workshop(), 'ceremony');
  await holdCeremony(ceremony);
  const folder = await workshop();
  images = [
    { component: 'boot', path: await writeImage(join(folder, 'boot.img'), 4096, 1) },
    { component: 'rootfs', path: await writeImage(join(folder, 'rootfs.img'), 2 * BLOCK_BYTES + 77, 2) },
  ];
});

const authorKey = (name = CLASS): string => join(ceremony, `author-${name}`, 'author.key');
const targetsKey = (person: number): string => join(ceremony, `person-${person}`, 'targets.key');
const sign = (folder: string, keyPath: string) => signRelease({ folder, keyPath, passphraseFor });
const publish = (folder: string) => planPublication(folder, NOW_UNIX_S + 60);

async function build(changes: Partial<BuildRequest> = {}): Promise<string> {
  const folder = join(await workshop(), 'rel');
  await buildRelease({
    folder,
    base: await readBaseMetadata(join(ceremony, 'public')),
    vendor: 'acme.example',
    hardwareClass: CLASS,
    channel: 'stable',
    version: '2.0.0',
    sequence: 2,
    images,
    nowUnixS: NOW_UNIX_S,
    ...changes,
  });
  return folder;
}

async function signedBy(...people: number[]): Promise<string> {
  const folder = await build();
  await sign(folder, authorKey());
  for (const person of people) await sign(folder, targetsKey(person));
  return folder;
}

async function edit(path: string, from: string | RegExp, to: string): Promise<void> {
  const text = await readFile(path, 'utf8');
  expect(text.replace(from, to)).not.toBe(text);
  await writeFile(path, text.replace(from, to));
}

async function flipByte(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await writeFile(path, bytes);
}

describe('a release', () => {
  it('built, signed by author and threshold, is what a device takes', async () => {
    const folder = await build();
    expect(await sign(folder, authorKey())).toMatchObject({
      role: 'author',
      added: true,
      signatures: 0,
      threshold: 2,
      complete: false,
    });
    expect(await sign(folder, targetsKey(1))).toMatchObject({
      role: 'targets',
      added: true,
      signatures: 1,
      complete: false,
    });
    expect(await sign(folder, targetsKey(3))).toMatchObject({ signatures: 2, complete: true });
    const publication = await publish(folder);
    const root = verifyInitialRoot(await readFile(join(ceremony, 'public', '1.root.json')));
    if (!root.ok) throw new Error(root.detail);
    const targets = verifySigned(root.value, 'targets', new TextEncoder().encode(publication.targets));
    if (!targets.ok) throw new Error(targets.detail);
    const release = verifyRelease({
      root: root.value,
      targets: targets.value,
      releasePath: 'releases/acme-cam/stable/2/release.suit',
      envelope: await readFile(join(folder, 'release.suit')),
      device: { vendor: 'acme.example', hardwareClass: CLASS, channel: 'stable' },
      installedSequence: 1,
      floorSequence: 0,
    });
    if (!release.ok) throw new Error(`${release.code}: ${release.detail}`);
    expect(release.value).toMatchObject({
      version: '2.0.0',
      sequence: 2,
      images: [{ component: 'boot' }, { component: 'rootfs' }],
    });
    for (const artifact of publication.artifacts) {
      const bytes = await readFile(artifact.path);
      expect([sha256Hex(bytes), bytes.length]).toEqual([artifact.sha256, artifact.sizeBytes]);
    }
    expect(publication.artifacts).toHaveLength(5);
  });

  it('signed with an ESP256 author verifies too', async () => {
    const other = join(await workshop(), 'c');
    await holdCeremony(other, { authorAlgorithm: 'esp256' });
    const folder = await build({ base: await readBaseMetadata(join(other, 'public')) });
    const state = await signRelease({ folder, keyPath: join(other, `author-${CLASS}`, 'author.key'), passphraseFor });
    expect(state.added).toBe(true);
  });

  it('has block maps under which each block of each image verifies', async () => {
    const folder = await build();
    for (const { component, path } of images) {
      const image = await readFile(path);
      const map = decodeBlockMap(await readFile(join(folder, `${component}.blocks`)), image.length);
      if (!map.ok) throw new Error(map.detail);
      for (let index = 0; index < map.value.count; index += 1) {
        const block = image.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
        expect(verifyBlock(map.value, index, block).ok).toBe(true);
      }
    }
  });

  it('is the same plan, manifest and targets on every machine', async () => {
    const [one, two] = [await signedBy(), await signedBy()];
    for (const name of ['release.json', 'manifest.cbor', 'release.suit', 'targets.json', 'rootfs.blocks']) {
      expect([name, await readFile(join(two, name))]).toEqual([name, await readFile(join(one, name))]);
    }
  });

  it('counts a key once, however often it signs', async () => {
    const folder = await signedBy(1);
    const before = await readFile(join(folder, 'targets.json'));
    expect(await sign(folder, targetsKey(1))).toMatchObject({ added: false, signatures: 1, complete: false });
    expect(await readFile(join(folder, 'targets.json'))).toEqual(before);
  });

  it('takes a second author signature for none, and makes a lost draft again', async () => {
    const folder = await signedBy();
    const envelope = await readFile(join(folder, 'release.suit'));
    expect(await sign(folder, authorKey())).toMatchObject({ added: false });
    const draft = await readFile(join(folder, 'targets.json'));
    await rm(join(folder, 'targets.json'));
    expect(await sign(folder, authorKey())).toMatchObject({ added: false });
    expect(await readFile(join(folder, 'targets.json'))).toEqual(draft);
    expect(await readFile(join(folder, 'release.suit'))).toEqual(envelope);
  });

  it('can be moved with its images inside', async () => {
    const folder = join(await workshop(), 'rel');
    const inside = join(folder, 'images');
    // The images come first here, so the folder is not empty: build beside and move in.
    const built = await build();
    await mkdir(inside, { recursive: true });
    await cp(built, folder, { recursive: true });
    for (const { component, path } of images) {
      await cp(path, join(inside, `${component}.img`));
      await edit(join(folder, 'release.json'), JSON.stringify(path), JSON.stringify(`images/${component}.img`));
    }
    await rename(folder, `${folder}-moved`);
    expect(await sign(`${folder}-moved`, authorKey())).toMatchObject({ added: true });
  });

  it('keeps the floor of the release before, unless told otherwise', async () => {
    const first = await build({ floorSequence: 2 });
    await sign(first, authorKey());
    for (const person of [1, 2]) await sign(first, targetsKey(person));
    const metadata = await workshop();
    await cp(join(first, 'targets.json'), join(metadata, '2.targets.json'));
    await cp(join(ceremony, 'public', '1.root.json'), join(metadata, '1.root.json'));
    const base = await readBaseMetadata(metadata);
    const plan = JSON.parse(await readFile(join(await build({ base, sequence: 3 }), 'release.json'), 'utf8'));
    expect(plan).toMatchObject({ floorSequence: 2, targets: { version: 3 } });
    expect(await faultCode(() => build({ base, sequence: 2 }))).toBe('sequence-not-newer');
  });
});

describe('building refuses', () => {
  it.each([
    ['a class without an author', { hardwareClass: 'acme-door' }, 'author-missing'],
    ['a floor above its own sequence', { floorSequence: 3 }, 'sequence-below-floor'],
    ['a bad name', { channel: 'Stable' }, 'name-malformed'],
    ['no image', { images: [] }, 'images-malformed'],
  ] as const)('%s', async (_name, changes, code) => {
    expect(await faultCode(() => build(changes))).toBe(code);
  });

  it('a component named twice, an empty image, a missing one, a folder', async () => {
    const [image] = images;
    if (image === undefined) throw new Error('no image');
    const folder = await workshop();
    const empty = join(folder, 'empty.img');
    await writeFile(empty, '');
    expect(await faultCode(() => build({ images: [image, image] }))).toBe('images-malformed');
    expect(await faultCode(() => build({ images: [{ component: 'boot', path: empty }] }))).toBe('image-empty');
    expect(await faultCode(() => build({ images: [{ component: 'boot', path: join(folder, 'none') }] }))).toBe(
      'path-not-found',
    );
    expect(await faultCode(() => build({ images: [{ component: 'boot', path: folder }] }))).toBe('path-kind-wrong');
  });

  it('to write into a folder that holds something', async () => {
    const folder = await signedBy(1);
    const before = await readdir(folder);
    expect(await faultCode(() => build({ folder }))).toBe('release-folder-exists');
    expect(await readdir(folder)).toEqual(before);
  });

  it('metadata whose targets were not signed by the threshold of its root', async () => {
    const metadata = await workshop();
    await cp(join(ceremony, 'public'), metadata, { recursive: true });
    await edit(join(metadata, '1.targets.json'), '"version":1', '"version":7');
    expect(await faultCode(() => readBaseMetadata(metadata))).toBe('metadata-signature-invalid');
    expect(await faultCode(() => readBaseMetadata(join(metadata, 'nowhere')))).toBe('metadata-missing');
  });
});

describe('signing refuses', () => {
  it('people before the author', async () => {
    const folder = await build();
    expect(await faultCode(() => sign(folder, targetsKey(1)))).toBe('signature-order-wrong');
    expect(await readdir(folder)).not.toContain('targets.json');
  });

  it('the author of another class, a root key, and keys of another ceremony', async () => {
    const stranger = join(await workshop(), 'c');
    await holdCeremony(stranger);
    const folder = await build();
    expect(await faultCode(() => sign(folder, authorKey('acme-hub')))).toBe('author-out-of-scope');
    expect(await faultCode(() => sign(folder, join(ceremony, 'person-1', 'root.key')))).toBe('key-role-wrong');
    const rootPath = join(ceremony, 'public', '1.root.json');
    const foreign = (keyPath: string) => faultCode(() => signRelease({ folder, keyPath, rootPath, passphraseFor }));
    expect(await foreign(join(stranger, `author-${CLASS}`, 'author.key'))).toBe('author-unknown');
    await sign(folder, authorKey());
    expect(await foreign(join(stranger, 'person-1', 'targets.key'))).toBe('key-not-in-role');
  });

  it('a release built upon a root that the signer does not trust', async () => {
    const stranger = join(await workshop(), 'c');
    await holdCeremony(stranger);
    const folder = await build({ base: await readBaseMetadata(join(stranger, 'public')) });
    expect(await faultCode(() => sign(folder, authorKey()))).toBe('root-not-trusted');
    expect(await readdir(folder)).not.toContain('release.suit');
  });

  it('an image that changed after the build, at every later step', async () => {
    const folder = await workshop();
    const path = await writeImage(join(folder, 'rootfs.img'), BLOCK_BYTES + 5, 3);
    const release = await build({ images: [{ component: 'rootfs', path }] });
    await flipByte(path, BLOCK_BYTES + 2);
    expect(await faultCode(() => sign(release, authorKey()))).toBe('image-changed');
    await flipByte(path, BLOCK_BYTES + 2);
    await sign(release, authorKey());
    await writeFile(path, 'x', { flag: 'a' });
    expect(await faultCode(() => sign(release, targetsKey(1)))).toBe('image-changed');
    await writeImage(path, BLOCK_BYTES + 5, 3);
    await sign(release, targetsKey(1));
    await sign(release, targetsKey(2));
    await flipByte(path, 0);
    expect(await faultCode(() => publish(release))).toBe('image-changed');
    await flipByte(path, 0);
    expect(await faultCode(() => publish(release))).toBe('no fault');
  });

  it('whatever differs from the plan', async () => {
    const cases: [string, (folder: string) => Promise<void>, string][] = [
      [
        'the plan names another sequence',
        (at) => edit(join(at, 'release.json'), '"sequence": 2', '"sequence": 3'),
        'release-plan-malformed',
      ],
      ['the plan names another version', (at) => edit(join(at, 'release.json'), '2.0.0', '2.0.1'), 'plan-mismatch'],
      [
        'the plan names another floor',
        (at) => edit(join(at, 'release.json'), '"floorSequence": 0', '"floorSequence": 1'),
        'plan-mismatch',
      ],
      [
        'the plan names another expiry',
        (at) => edit(join(at, 'release.json'), /"expiresUnixS": \d+/, '"expiresUnixS": 4000000000'),
        'plan-mismatch',
      ],
      [
        'the plan names another environment',
        (at) => edit(join(at, 'release.json'), 'rehearsal', 'production'),
        'plan-mismatch',
      ],
      ['the plan is not JSON', (at) => writeFile(join(at, 'release.json'), 'hello'), 'release-plan-malformed'],
      ['the manifest', (at) => flipByte(join(at, 'manifest.cbor'), 40), 'plan-mismatch'],
      ['a block map', (at) => flipByte(join(at, 'rootfs.blocks'), 60), 'plan-mismatch'],
      [
        'the draft lists another digest',
        (at) => edit(join(at, 'targets.json'), /"sha256":"[0-9a-f]{8}/, '"sha256":"00000000'),
        'plan-mismatch',
      ],
      [
        'the draft has another version',
        (at) => edit(join(at, 'targets.json'), '"version":2}', '"version":9}'),
        'plan-mismatch',
      ],
      ['the draft is not canonical', (at) => edit(join(at, 'targets.json'), '"_type":', '"_type": '), 'plan-mismatch'],
      [
        'the targets below it',
        (at) => edit(join(at, 'metadata', 'targets.json'), '"version":1', '"version":2'),
        'metadata-signature-invalid',
      ],
      [
        'the root below it',
        (at) => edit(join(at, 'metadata', '1.root.json'), '"threshold":2', '"threshold":1'),
        'metadata-signature-invalid',
      ],
      ['the plan is away', (at) => rm(join(at, 'release.json')), 'path-not-found'],
    ];
    const good = await signedBy(1);
    for (const [name, spoil, expected] of cases) {
      const folder = join(await workshop(), 'copy');
      await cp(good, folder, { recursive: true });
      const before = await readFile(join(folder, 'targets.json'));
      await spoil(folder);
      expect([name, await faultCode(() => sign(folder, targetsKey(2)))]).toEqual([name, expected]);
      if (!name.includes('draft')) expect(await readFile(join(folder, 'targets.json'))).toEqual(before);
    }
    expect(await sign(good, targetsKey(2))).toMatchObject({ complete: true });
  });

  it('an envelope that a device would refuse, with the code of the device', async () => {
    const folder = await signedBy(1);
    const path = join(folder, 'release.suit');
    const bytes = await readFile(path);
    await flipByte(path, bytes.length - 1);
    expect(await faultCode(() => sign(folder, targetsKey(2)))).toMatch(/^(envelope|cbor|targets|command)-/);
  });

  it('a bad signature that stands in the file already', async () => {
    const folder = await signedBy(1);
    await edit(join(folder, 'targets.json'), /"sig":"[0-9a-f]{8}/, '"sig":"00000000');
    expect(await faultCode(() => sign(folder, targetsKey(2)))).toBe('metadata-signature-invalid');
  });
});

describe('publishing refuses', () => {
  it('a release without author, or without enough people', async () => {
    expect(await faultCode(async () => publish(await build()))).toBe('signatures-missing');
    expect(await faultCode(async () => publish(await signedBy()))).toBe('signatures-missing');
    expect(await faultCode(async () => publish(await signedBy(2)))).toBe('signatures-missing');
    expect(await faultCode(async () => publish(await signedBy(2, 3)))).toBe('no fault');
  });

  it('one signature copied under the name of another key', async () => {
    const folder = await signedBy(1);
    const path = join(folder, 'targets.json');
    const file = JSON.parse(await readFile(path, 'utf8'));
    const other = await readKeyFile(targetsKey(2));
    await edit(path, '"signatures":[', `"signatures":[{"keyid":"${other.keyId}","sig":"${file.signatures[0].sig}"},`);
    expect(await faultCode(() => publish(folder))).toMatch(/^(metadata-signature-invalid|metadata-threshold-not-met)$/);
  });
});

describe('the root chain of a release', () => {
  async function rotated(): Promise<string> {
    const directory = await workshop();
    const first = await readFile(join(ceremony, 'public', '1.root.json'));
    const decoded = decodeMetadata('root', first, { canonicalForm: 'required' });
    if (!decoded.ok) throw new Error(decoded.detail);
    const keys: SigningKey[] = [];
    for (const person of [1, 2]) {
      const file = await readKeyFile(join(ceremony, `person-${person}`, 'root.key'));
      keys.push(await openKey(file, await passphraseFor('')));
    }
    const second: Root = { ...decoded.value.signed, version: 2 };
    await writeFile(join(directory, '1.root.json'), first);
    await writeFile(join(directory, '2.root.json'), await signMetadata(second, keys));
    await cp(join(ceremony, 'public', '1.targets.json'), join(directory, '1.targets.json'));
    return directory;
  }

  it('is followed from the root that the signer has to the newest', async () => {
    const base = await readBaseMetadata(await rotated());
    expect(base.root.version).toBe(2);
    const folder = await build({ base });
    expect((await readdir(join(folder, 'metadata'))).sort()).toEqual(['1.root.json', '2.root.json', 'targets.json']);
    expect(await sign(folder, authorKey())).toMatchObject({ added: true });
  });

  it('is refused when a root in it was not signed by the one before', async () => {
    const directory = await rotated();
    await edit(join(directory, '2.root.json'), '"version":2', '"version":3');
    expect(await faultCode(() => readBaseMetadata(directory))).toMatch(
      /^(metadata-signature-invalid|root-chain-broken)$/,
    );
  });
});

describe('mapping an image', () => {
  it('tells its progress block by block, up to its size', async () => {
    const path = await writeImage(join(await workshop(), 'i.img'), 2 * BLOCK_BYTES + 1, 4);
    const seen: number[] = [];
    const { sizeBytes, sha256 } = await mapImage(path, (done) => seen.push(done));
    expect(seen).toEqual([BLOCK_BYTES, 2 * BLOCK_BYTES, sizeBytes]);
    expect(sha256).toBe(sha256Hex(await readFile(path)));
  });

  it('refuses one that grows meanwhile', async () => {
    const path = await writeImage(join(await workshop(), 'i.img'), 2 * BLOCK_BYTES, 5);
    const growing = mapImage(path, () => appendFileSync(path, 'more'));
    expect(await faultCode(() => growing)).toBe('image-changed');
  });
});
