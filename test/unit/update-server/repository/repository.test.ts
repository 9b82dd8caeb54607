import { appendFile, readdir, rm, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { signMetadata } from '../../../../keys/tuf-signing.ts';
import { type Disk, nodeDisk } from '../../../../platform/disk.ts';
import { Fault } from '../../../../platform/fault.ts';
import { sha256Hex } from '../../../../trust/crypto.ts';
import { accept } from '../../../../trust/refusal.ts';
import { encodeTufDate } from '../../../../trust/time.ts';
import { refreshMetadata } from '../../../../trust/tuf/client.ts';
import type { RoleName } from '../../../../trust/tuf/metadata.ts';
import type { Repository } from '../../../../update-server/repository/repository.ts';
import { chunks, DAY_S, type MadeRelease, makeRelease, NOW_S, RepositoryBed } from './fixture.ts';

let bed: RepositoryBed;
let repository: Repository;
beforeEach(async () => {
  bed = await RepositoryBed.make();
  repository = await bed.open();
});
afterEach(() => bed.remove());

/** What a device takes from this repository, by the device's own workflow, starting from the first root. */
async function deviceSees(from: Repository, trusted = new Map<RoleName, Uint8Array>()): Promise<string> {
  if (!trusted.has('root')) trusted.set('root', (await from.readMetadata('1.root.json')) ?? new Uint8Array());
  const verdict = await refreshMetadata({
    store: {
      read: async (name) => trusted.get(name),
      write: async (name, bytes) => void trusted.set(name, bytes),
      remove: async (name) => void trusted.delete(name),
    },
    source: { fetchMetadata: async (name) => accept(await from.readMetadata(name)) },
    time: { floorUnixS: 0, synchronisedUnixS: bed.clock.nowS },
    mode: { offline: false, environment: 'rehearsal', canonicalForm: 'required' },
  });
  if (!verdict.ok) return verdict.code;
  return `root ${verdict.value.root.version}, targets ${verdict.value.targets.version}`;
}

const codeOf = (outcome: Awaited<ReturnType<Repository['publish']>>): string =>
  outcome.ok ? 'published' : outcome.code;

const faultCode = async (work: Promise<unknown>): Promise<string> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return error instanceof Fault ? error.code : `no fault: ${String(error)}`;
};

test('a fresh repository is one that a device takes', async () => {
  expect(await deviceSees(repository)).toBe('root 1, targets 1');
  expect(repository.environment()).toBe('rehearsal');
});

describe('publishing', () => {
  test('a good release reaches devices and the database, once', async () => {
    const release = await makeRelease(bed.publisher, repository.targets, { sequence: 2 });
    const outcome = await bed.publish(repository, release);
    expect(outcome).toMatchObject({
      ok: true,
      answer: { targetsVersion: 2, releases: [{ sequence: 2, version: '2.0.0' }] },
    });
    expect(await deviceSees(repository)).toBe('root 1, targets 2');
    expect(await bed.publish(repository, release)).toEqual(outcome);
    expect(await bed.store.listReleases()).toHaveLength(1);
  });

  const cases: [string, string, (sign: typeof makeRelease) => Promise<MadeRelease>, ('one' | 'none')?][] = [
    [
      'too few signatures',
      'metadata-threshold-not-met',
      (make) => make(bed.publisher, repository.targets, { sequence: 2 }),
      'one',
    ],
    [
      'an unknown author',
      'author-unknown',
      (make) => make(bed.publisher, repository.targets, { sequence: 2, author: bed.publisher.keys.stranger }),
    ],
    [
      'the author of another class',
      'author-out-of-scope',
      (make) => make(bed.publisher, repository.targets, { sequence: 2, author: bed.publisher.keys.hubAuthor }),
    ],
    [
      'a manifest for another vendor',
      'vendor-mismatch',
      (make) =>
        make(bed.publisher, repository.targets, {
          sequence: 2,
          change: (content) => ({ ...content, vendor: 'other.example' }),
        }),
    ],
    [
      'a manifest of another sequence',
      'targets-suit-disagree',
      (make) =>
        make(bed.publisher, repository.targets, { sequence: 2, change: (content) => ({ ...content, sequence: 3 }) }),
    ],
    [
      'the block map of another image',
      'block-digest-mismatch',
      (make) =>
        make(bed.publisher, repository.targets, {
          sequence: 2,
          image: new Uint8Array(3_000_000).fill(1),
          mapOf: new Uint8Array(3_000_000).fill(2),
        }),
    ],
    [
      'a block map of another length',
      'block-map-malformed',
      (make) =>
        make(bed.publisher, repository.targets, {
          sequence: 2,
          image: new Uint8Array(3_000_000),
          mapOf: new Uint8Array(1_000_000),
        }),
    ],
  ];
  test.each(cases)('is refused with %s, and nothing changes', async (_name, code, make, signers) => {
    const release = await make(makeRelease);
    const keys = signers === 'one' ? [bed.publisher.keys.person1] : undefined;
    const before = repository.versions;
    expect(codeOf(await bed.publish(repository, release, keys))).toBe(code);
    expect(repository.versions).toEqual(before);
    expect(await deviceSees(repository)).toBe('root 1, targets 1');
    const twin = await makeRelease(bed.publisher, repository.targets, { sequence: 2 });
    expect(codeOf(await bed.publish(repository, twin))).toBe('published');
  });

  test('is refused with a sequence that is not newer than what was published', async () => {
    expect(
      codeOf(await bed.publish(repository, await makeRelease(bed.publisher, repository.targets, { sequence: 5 }))),
    ).toBe('published');
    const older = await makeRelease(bed.publisher, repository.targets, { sequence: 4 });
    expect(codeOf(await bed.publish(repository, older))).toBe('sequence-not-newer');
    const other = await makeRelease(bed.publisher, repository.targets, {
      sequence: 4,
      hardwareClass: 'acme-hub',
      author: bed.publisher.keys.hubAuthor,
    });
    expect(codeOf(await bed.publish(repository, other))).toBe('published');
  });

  test('is refused with an artifact that was not uploaded', async () => {
    const release = await makeRelease(bed.publisher, repository.targets, { sequence: 2 });
    expect(codeOf(await bed.publish(repository, { ...release, artifacts: release.artifacts.slice(1) }))).toBe(
      'artifact-missing',
    );
    expect(codeOf(await bed.publish(repository, release))).toBe('published');
  });

  test('is refused with targets that are older, expired, or altered', async () => {
    const release = await makeRelease(bed.publisher, repository.targets, { sequence: 2 });
    const expired = { ...release, targets: { ...release.targets, expires: encodeTufDate(NOW_S - 1) } };
    expect(codeOf(await bed.publish(repository, expired))).toBe('metadata-expired');
    const same = { ...release, targets: { ...release.targets, version: 1 } };
    expect(codeOf(await bed.publish(repository, same))).toMatch(/^metadata-version/);
    const text = Buffer.from(await bed.publisher.signTargets(release.targets)).toString();
    const altered = text.replace('"floorSequence":0', '"floorSequence":1');
    expect(codeOf(await repository.publish({ roots: [], targets: altered }, 'tester'))).toMatch(/^metadata-/);
    expect(codeOf(await repository.publish({ roots: [], targets: '{' }, 'tester'))).toBe('json-malformed');
  });

  test('an artifact that rotted on disk since its upload is found', async () => {
    const release = await makeRelease(bed.publisher, repository.targets, { sequence: 2 });
    await bed.upload(repository, release.artifacts);
    const image = release.artifacts[0] ?? new Uint8Array();
    const sha256 = sha256Hex(image);
    const rotten = Uint8Array.from(image);
    rotten[1_200_000] = (rotten[1_200_000] ?? 0) ^ 1;
    await writeFile(bed.path('artifacts', sha256.slice(0, 2), sha256), rotten);
    expect(codeOf(await bed.publish(repository, { ...release, artifacts: [] }))).toBe('image-digest-mismatch');
  });

  test('a new root, and targets under it, reach a device that has the first one', async () => {
    const trusted = new Map<RoleName, Uint8Array>();
    await deviceSees(repository, trusted);
    const root = { ...bed.publisher.draftRoot(), version: 2 };
    const roots = [Buffer.from(await signMetadata(root, [bed.publisher.keys.root])).toString()];
    const release = await makeRelease(bed.publisher, repository.targets, { sequence: 2 });
    await bed.upload(repository, release.artifacts);
    const targets = Buffer.from(await bed.publisher.signTargets(release.targets)).toString();
    expect(codeOf(await repository.publish({ roots, targets }, 'tester'))).toBe('published');
    expect(codeOf(await repository.publish({ roots, targets }, 'tester'))).toBe('published');
    expect(await deviceSees(repository, trusted)).toBe('root 2, targets 2');
    expect(await deviceSees(await bed.open(), trusted)).toBe('root 2, targets 2');
  });

  test.each<[string, string, (root: ReturnType<RepositoryBed['publisher']['draftRoot']>) => object]>([
    ['skips a version', 'root-chain-broken', (root) => ({ ...root, version: 3 })],
    [
      'is of another environment',
      'environment-mismatch',
      (root) => ({ ...root, version: 2, holdfast: { ...root.holdfast, environment: 'production' } }),
    ],
    [
      'names other online keys',
      'online-keys-not-in-root',
      (root) => ({ ...root, version: 2, roles: { ...root.roles, timestamp: root.roles.targets } }),
    ],
  ])('is refused with a root that %s', async (_name, code, change) => {
    const root = change(bed.publisher.draftRoot()) as ReturnType<RepositoryBed['publisher']['draftRoot']>;
    const roots = [Buffer.from(await signMetadata(root, [bed.publisher.keys.root])).toString()];
    const targets = Buffer.from((await repository.readMetadata('1.targets.json')) ?? []).toString();
    expect(codeOf(await repository.publish({ roots, targets }, 'tester'))).toBe(code);
    expect(repository.versions.root).toBe(1);
  });
});

describe('after a cut at any write of a publication', () => {
  /** A disk whose power fails at the n-th rename: what was renamed before stays. */
  function failing(atRename: number): Disk {
    let renames = 0;
    return {
      ...nodeDisk,
      rename: async (from, to) => {
        renames += 1;
        if (renames >= atRename) throw new Error('power cut');
        await nodeDisk.rename(from, to);
      },
    };
  }

  test.each([1, 2, 3])(
    '(write %i) a device takes what is served, and the next start completes or forgets it',
    async (write) => {
      const release = await makeRelease(bed.publisher, repository.targets, { sequence: 2 });
      await bed.upload(repository, release.artifacts);
      const broken = await bed.open(failing(write));
      await expect(bed.publish(broken, { ...release, artifacts: [] })).rejects.toThrow('power cut');
      expect(await deviceSees(broken)).toBe('root 1, targets 1');
      const restarted = await bed.open();
      expect(await deviceSees(restarted)).toBe(write === 1 ? 'root 1, targets 1' : 'root 1, targets 2');
      expect(await bed.store.listReleases()).toHaveLength(write === 1 ? 0 : 1);
      expect(codeOf(await bed.publish(restarted, release))).toBe('published');
      expect(await deviceSees(restarted)).toBe('root 1, targets 2');
    },
  );

  test.each([1, 2, 3, 4])('(write %i) also when a new root changes who signs targets', async (write) => {
    const { publisher } = bed;
    const draft = publisher.draftRoot();
    const [kept, fresh] = [publisher.keys.person1, publisher.keys.root];
    const roles = { ...draft.roles, targets: { keyids: [kept.keyId, fresh.keyId], threshold: 2 } };
    const root = await signMetadata({ ...draft, version: 2, roles }, [publisher.keys.root]);
    const release = await makeRelease(publisher, repository.targets, { sequence: 2 });
    await bed.upload(repository, release.artifacts);
    const targets = Buffer.from(await publisher.signTargets(release.targets, [kept, fresh])).toString();
    const request = { roots: [Buffer.from(root).toString()], targets };
    const broken = await bed.open(failing(write));
    await expect(broken.publish(request, 'tester')).rejects.toThrow('power cut');
    expect(await deviceSees(broken)).toBe('root 1, targets 1');
    const restarted = await bed.open();
    expect(await deviceSees(restarted)).toBe(write <= 2 ? 'root 1, targets 1' : 'root 2, targets 2');
    expect(codeOf(await restarted.publish(request, 'tester'))).toBe('published');
    expect(await deviceSees(restarted)).toBe('root 2, targets 2');
  });
});

describe('the online roles', () => {
  test('take the time as version, and never the same twice', async () => {
    const first = repository.versions;
    expect(first.timestamp).toBe(NOW_S);
    await bed.publish(repository, await makeRelease(bed.publisher, repository.targets, { sequence: 2 }));
    expect(repository.versions.timestamp).toBe(NOW_S + 1);
    bed.clock.nowS += 100;
    await bed.publish(repository, await makeRelease(bed.publisher, repository.targets, { sequence: 3 }));
    expect(repository.versions.timestamp).toBe(NOW_S + 100);
  });

  test('renew themselves when a third of their life is left, and not before', async () => {
    bed.clock.nowS = NOW_S + 2 * DAY_S - 1;
    expect(await repository.renew()).toBe('nothing');
    bed.clock.nowS = NOW_S + 2 * DAY_S;
    expect(await repository.renew()).toBe('timestamp');
    bed.clock.nowS = NOW_S + 10 * DAY_S;
    expect(await repository.renew()).toBe('both');
    expect(await deviceSees(repository)).toBe('root 1, targets 1');
  });

  test('are renewed at start: a server that was off for a month is trusted again', async () => {
    const trusted = new Map<RoleName, Uint8Array>();
    await deviceSees(repository, trusted);
    bed.clock.nowS = NOW_S + 30 * DAY_S;
    expect(await deviceSees(repository, trusted)).toBe('metadata-expired');
    expect(await deviceSees(await bed.open(), trusted)).toBe('root 1, targets 1');
  });

  test('of a server restored from an old backup strand no device', async () => {
    const trusted = new Map<RoleName, Uint8Array>();
    const backup = new Map<string, Uint8Array>();
    for (const name of await readdir(bed.path('metadata'))) {
      backup.set(name, (await repository.readMetadata(name)) ?? new Uint8Array());
    }
    bed.clock.nowS += 50;
    await bed.publish(repository, await makeRelease(bed.publisher, repository.targets, { sequence: 2 }));
    bed.clock.nowS = NOW_S + 3 * DAY_S;
    await repository.renew();
    expect(await deviceSees(repository, trusted)).toBe('root 1, targets 2');
    const targets2 = (await repository.readMetadata('2.targets.json')) ?? new Uint8Array();
    await rm(bed.path('metadata'), { recursive: true });
    const restored = await bed.open().catch((error: unknown) => error);
    expect(restored).toBeInstanceOf(Fault);
    for (const [name, bytes] of backup) await writeFile(bed.path('metadata', name), bytes);
    await writeFile(bed.path('metadata', '2.targets.json'), targets2);
    bed.clock.nowS += 10;
    expect(await deviceSees(await bed.open(), trusted)).toBe('root 1, targets 2');
  });
});

describe('a damaged folder ends in one fault', () => {
  test.each([
    ['1.root.json', 'garbage'],
    ['1.targets.json', 'garbage'],
  ])('%s', async (name, text) => {
    await writeFile(bed.path('metadata', name), text);
    expect(await faultCode(bed.open())).toBe('repository-corrupt');
  });

  test('a damaged timestamp or snapshot is signed anew', async () => {
    await writeFile(bed.path('metadata', 'timestamp.json'), 'garbage');
    bed.clock.nowS += 5;
    expect(await deviceSees(await bed.open())).toBe('root 1, targets 1');
  });
});

describe('artifacts', () => {
  const bytes = new Uint8Array(300_000).fill(7);
  const sha256 = sha256Hex(bytes);

  test('stand under their digest, and uploading again changes nothing', async () => {
    expect(await repository.hasArtifact(sha256)).toBeUndefined();
    expect(await repository.putArtifact(sha256, chunks(bytes), bytes.length)).toEqual({ ok: true });
    expect(await repository.hasArtifact(sha256)).toEqual({ sizeBytes: 300_000 });
    expect(await repository.putArtifact(sha256, chunks(new Uint8Array(1)), 1)).toEqual({ ok: true });
  });

  test.each<[string, number, number, string]>([
    ['too many bytes', 300_001, 300_000, 'artifact-too-large'],
    ['too few bytes', 299_999, 300_000, 'artifact-cut-off'],
    ['other bytes', 299_999, 299_999, 'artifact-digest-mismatch'],
    ['more than any artifact has', 1, 2 ** 50, 'artifact-too-large'],
  ])('with %s are refused, and nothing of them stays', async (_name, sentBytes, saidBytes, code) => {
    const outcome = await repository.putArtifact(sha256, chunks(new Uint8Array(sentBytes).fill(7)), saidBytes);
    expect(outcome).toMatchObject({ ok: false, code });
    expect(await repository.hasArtifact(sha256)).toBeUndefined();
    expect(await readdir(bed.path('artifacts', 'uploads'))).toEqual([]);
  });

  test('a cut upload is removed at the next start', async () => {
    await appendFile(bed.path('artifacts', 'uploads', 'half'), 'half');
    await bed.open();
    expect(await readdir(bed.path('artifacts', 'uploads'))).toEqual([]);
  });
});
