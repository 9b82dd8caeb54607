/**
 * tuf-js as oracle: a repository that our encoders wrote is accepted by its Updater and by ours; each hostile variant
 * is refused by both. Needs no vectors.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Fetcher } from 'tuf-js';
import { Updater } from 'tuf-js';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { utf8 } from '../../trust/bytes.ts';
import { sha256Hex } from '../../trust/crypto.ts';
import { canonicalJson } from '../../trust/json.ts';
import { encodeTufDate } from '../../trust/time.ts';
import { refreshMetadata } from '../../trust/tuf/client.ts';
import { type Root, tufKeyOf } from '../../trust/tuf/metadata.ts';
import {
  DEVICE_MODE,
  KEYS,
  makeRelease,
  NOW_UNIX_S,
  type PublishOptions,
  signTestMetadata,
  TestRepository,
  testImage,
  testKey,
} from '../unit/trust/release-fixture.ts';
import { Counts } from './vectors.ts';

const { DownloadHTTPError, DownloadLengthMismatchError } = createRequire(import.meta.url)('tuf-js/dist/error') as {
  DownloadHTTPError: new (message: string, statusCode: number) => Error;
  DownloadLengthMismatchError: new (message: string) => Error;
};
const canonicalize = (
  createRequire(import.meta.url)('@tufjs/canonical-json') as { canonicalize(value: unknown): string }
).canonicalize;

class MemoryFetcher implements Fetcher {
  readonly #files: ReadonlyMap<string, Uint8Array>;

  constructor(files: ReadonlyMap<string, Uint8Array>) {
    this.#files = files;
  }

  async downloadBytes(url: string, maxLength: number): Promise<Buffer> {
    const name = url.slice(url.lastIndexOf('/') + 1);
    const bytes = this.#files.get(name);
    if (bytes === undefined) throw new DownloadHTTPError(`no ${name}`, 404);
    if (bytes.length > maxLength) throw new DownloadLengthMismatchError(name);
    return Buffer.from(bytes);
  }

  async downloadFile<T>(): Promise<T> {
    throw new Error('metadata only');
  }
}

const RELEASE = makeRelease({ images: { boot: testImage('boot', 512) } });
const DAY_S = 24 * 3600;
const counts = new Counts();
const folders: string[] = [];

function repositoryOf(options: PublishOptions = {}): TestRepository {
  return new TestRepository().add(RELEASE).publish(options);
}

/** Both clients, each with its own store, over a series of states of one repository. The last state decides. */
async function bothJudge(...states: readonly TestRepository[]): Promise<{ ours: boolean; theirs: boolean }> {
  const first = states[0];
  if (first === undefined) throw new Error('no state');
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-tuf-js-'));
  folders.push(folder);
  writeFileSync(join(folder, 'root.json'), first.file('1.root.json'));
  const store = first.store();
  let verdict = { ours: false, theirs: false };
  for (const repository of states) {
    const ours = await refreshMetadata({
      store,
      source: repository.source(),
      time: repository.time(),
      mode: DEVICE_MODE,
    });
    const updater = new Updater({
      ...{ metadataDir: folder, metadataBaseUrl: 'https://repository.invalid/', forceCache: false },
      fetcher: new MemoryFetcher(repository.metadata),
    });
    const theirs = await updater.refresh().then(
      async () => (await updater.getTargetInfo(RELEASE.releasePath)) !== undefined,
      () => false,
    );
    verdict = { ours: ours.ok, theirs };
  }
  counts.add(
    verdict.ours === verdict.theirs ? `${verdict.ours ? 'accepted' : 'refused'} by both` : 'refused by ours alone',
  );
  return verdict;
}

const BOTH_ACCEPT = { ours: true, theirs: true };
const BOTH_REFUSE = { ours: false, theirs: false };
const fresh = testKey('root 4');

function withRootKey(repository: TestRepository, signers: Parameters<TestRepository['addRoot']>[1]): TestRepository {
  const { keys, roles } = repository.root;
  return repository.addRoot(
    {
      keys: { ...keys, [fresh.keyId]: tufKeyOf(fresh.publicKey) },
      roles: { ...roles, root: { keyids: [KEYS.root[0].keyId, fresh.keyId], threshold: 2 } },
    },
    signers,
  );
}

describe('tuf-js', () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: NOW_UNIX_S * 1000, toFake: ['Date'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });
  afterAll(() => {
    for (const folder of folders) rmSync(folder, { recursive: true });
    console.log(`tuf-js: ${counts.total} cases, ${counts}`);
  });

  it.each<[string, () => TestRepository[]]>([
    ['a first repository', () => [repositoryOf()]],
    ['a second publication', () => [repositoryOf(), repositoryOf().publish()]],
    ['the same again', () => [repositoryOf(), repositoryOf()]],
    ['two new roots', () => [repositoryOf().addRoot({}).addRoot({})]],
    ['new root keys, signed by old and new', () => [withRootKey(repositoryOf(), [...KEYS.root.slice(0, 2), fresh])]],
    [
      'a stranger’s signature beside a threshold',
      () => [repositoryOf({ signers: { targets: [...KEYS.targets, KEYS.stranger] } })],
    ],
  ])('both accept %s', async (_what, states) => {
    expect(await bothJudge(...states())).toEqual(BOTH_ACCEPT);
  });

  const old = encodeTufDate(NOW_UNIX_S - DAY_S);
  const [first] = KEYS.targets;
  it.each<[string, () => TestRepository[]]>([
    ['an expired timestamp', () => [repositoryOf({ timestamp: { expires: old } })]],
    ['an expired snapshot', () => [repositoryOf({ snapshot: { expires: old } })]],
    ['expired targets', () => [repositoryOf({ targets: { expires: old } })]],
    ['an expired root', () => [repositoryOf().addRoot({ expires: old })]],
    ['too few targets signatures', () => [repositoryOf({ signers: { targets: [first] } })]],
    ['a targets key that signs twice', () => [repositoryOf({ signers: { targets: [first, first] } })]],
    ['targets signed by root keys', () => [repositoryOf({ signers: { targets: KEYS.root } })]],
    ['a stranger’s timestamp', () => [repositoryOf({ signers: { timestamp: [KEYS.stranger] } })]],
    ['a stranger’s snapshot', () => [repositoryOf({ signers: { snapshot: [KEYS.stranger] } })]],
    ['an older timestamp', () => [repositoryOf().publish(), repositoryOf()]],
    [
      'a timestamp that names an older snapshot',
      () => [
        repositoryOf().publish(),
        repositoryOf()
          .publish()
          .publish({ timestamp: { meta: { 'snapshot.json': { version: 1 } } } }),
      ],
    ],
    [
      'a snapshot that names older targets',
      () => [
        repositoryOf().publish(),
        repositoryOf()
          .publish()
          .publish({ snapshot: { meta: { 'targets.json': { version: 1 } } } }),
      ],
    ],
    [
      'a snapshot of another version',
      () => [repositoryOf().replace('1.snapshot.json', () => repositoryOf().publish().file('2.snapshot.json'))],
    ],
    [
      'a snapshot of another digest',
      () => [
        repositoryOf({
          timestamp: { meta: { 'snapshot.json': { version: 1, hashes: { sha256: sha256Hex(new Uint8Array(0)) } } } },
        }),
      ],
    ],
    [
      'targets of another length',
      () => [repositoryOf({ snapshot: { meta: { 'targets.json': { version: 1, length: 1 } } } })],
    ],
    ['a root signed by the new keys alone', () => [withRootKey(repositoryOf(), [KEYS.root[0], fresh])]],
    ['a root signed by the old keys alone', () => [withRootKey(repositoryOf(), KEYS.root.slice(0, 2))]],
    [
      'a root that skips a version',
      () =>
        [
          repositoryOf()
            .addRoot({ version: 3 })
            .replace('3.root.json', (bytes) => bytes),
        ].map((repository) => {
          repository.metadata.set('2.root.json', repository.file('3.root.json'));
          return repository;
        }),
    ],
    [
      'one role under another’s name',
      () => [repositoryOf().replace('timestamp.json', () => repositoryOf().file('1.snapshot.json'))],
    ],
    ['a missing timestamp', () => [repositoryOf().replace('timestamp.json', () => undefined)]],
  ])('both refuse %s', async (_what, states) => {
    expect(await bothJudge(...states())).toEqual(BOTH_REFUSE);
  });

  it('a repository of another project, indented and without our members, is read in the conformance mode only', async () => {
    const foreign = repositoryOf();
    const { holdfast: _ours, ...root } = foreign.root;
    foreign.metadata.set('1.root.json', signTestMetadata(root as Root, KEYS.root));
    for (const name of foreign.metadata.keys()) {
      foreign.replace(name, (bytes) => utf8(JSON.stringify(JSON.parse(new TextDecoder().decode(bytes)), null, 2)));
    }
    const ports = { store: foreign.store(), source: foreign.source(), time: foreign.time() };
    const mode = { offline: false, canonicalForm: 'recomputed' } as const;
    expect(await refreshMetadata({ ...ports, mode })).toMatchObject({ ok: true });
    expect(await refreshMetadata({ ...ports, mode: DEVICE_MODE })).toMatchObject({ code: 'json-malformed' });
    expect((await bothJudge(foreign)).theirs).toBe(true);
  });

  it('writes the same canonical form', () => {
    const values: unknown[] = [
      { b: [1, -2, null, true, { z: '', a: 'ü"\\/' }], a: {}, ß: [] },
      JSON.parse(new TextDecoder().decode(repositoryOf().file('1.targets.json'))),
    ];
    for (const value of values) {
      expect(new TextDecoder().decode(canonicalJson(value))).toBe(canonicalize(value));
      counts.add('canonical forms alike');
    }
  });
});
