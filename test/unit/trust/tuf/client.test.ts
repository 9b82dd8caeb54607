import { describe, expect, it } from 'vitest';
import { sha256Hex } from '../../../../trust/crypto.ts';
import { accept, refuse } from '../../../../trust/refusal.ts';
import { encodeTufDate, type TrustTime } from '../../../../trust/time.ts';
import {
  MAX_ROOT_STEPS,
  type MetadataSource,
  type RefreshMode,
  refreshMetadata,
  refreshRoot,
} from '../../../../trust/tuf/client.ts';
import { METADATA_CAP_BYTES, type RoleKeys, tufKeyOf } from '../../../../trust/tuf/metadata.ts';
import {
  codeOf,
  DEVICE_MODE,
  flipBit,
  KEYS,
  type MemoryMetadataStore,
  makeRelease,
  NOW_UNIX_S,
  type PublishOptions,
  signTestMetadata,
  TestRepository,
  testImage,
  testKey,
  unwrap,
} from '../release-fixture.ts';

const DAY_S = 24 * 3600;
const SMALL = { boot: testImage('boot', 512) };
const RELEASE = makeRelease({ images: SMALL });

function repositoryOf(options: PublishOptions = {}): TestRepository {
  return new TestRepository().add(RELEASE).publish(options);
}

interface RefreshOptions {
  readonly store?: MemoryMetadataStore;
  readonly mode?: Partial<RefreshMode>;
  readonly time?: TrustTime;
  readonly source?: MetadataSource;
}

function refresh(repository: TestRepository, options: RefreshOptions = {}) {
  return refreshMetadata({
    store: options.store ?? repository.store(),
    source: options.source ?? repository.source(),
    time: options.time ?? repository.time(),
    mode: { ...DEVICE_MODE, ...options.mode },
  });
}

async function code(repository: TestRepository, options: RefreshOptions = {}): Promise<string> {
  return codeOf(await refresh(repository, options));
}

function roleOf(keys: readonly { keyId: string }[], threshold = 1): RoleKeys {
  return { keyids: keys.map(({ keyId }) => keyId), threshold };
}

describe('a repository in order', () => {
  it('trusts it, stores every file, and says that nothing was rotated', async () => {
    const repository = repositoryOf();
    const store = repository.store();
    const trusted = unwrap(await refresh(repository, { store }));
    expect(trusted).toMatchObject({ freshness: 'verified', rootRotated: false });
    expect(trusted.targets.targets[RELEASE.releasePath]?.length).toBe(RELEASE.envelope.length);
    expect(store.done).toEqual(['write timestamp', 'write snapshot', 'write targets']);
  });

  it('asks for snapshot and targets by version (consistent snapshots), and fetches neither again when nothing changed', async () => {
    const repository = repositoryOf();
    const store = repository.store();
    const first = repository.source();
    unwrap(await refresh(repository, { store, source: first }));
    expect(first.asked).toEqual(['2.root.json', 'timestamp.json', '1.snapshot.json', '1.targets.json']);
    const second = repository.source();
    unwrap(await refresh(repository, { store, source: second }));
    expect(second.asked).toEqual(['2.root.json', 'timestamp.json']);
    expect(store.done).toHaveLength(3);
  });

  it('takes the next version of everything', async () => {
    const repository = repositoryOf();
    const store = repository.store();
    unwrap(await refresh(repository, { store }));
    repository.publish();
    expect(unwrap(await refresh(repository, { store })).targets.version).toBe(2);
  });

  it('asks for fixed names where the root has no consistent snapshots', async () => {
    const repository = new TestRepository();
    repository.root = { ...repository.root, consistent_snapshot: false };
    repository.metadata.set('1.root.json', signTestMetadata(repository.root, KEYS.root));
    repository.add(RELEASE).publish();
    for (const role of ['snapshot', 'targets'])
      repository.metadata.set(`${role}.json`, repository.file(`1.${role}.json`));
    const source = repository.source();
    unwrap(await refresh(repository, { source }));
    expect(source.asked).toEqual(['2.root.json', 'timestamp.json', 'snapshot.json', 'targets.json']);
  });

  it('goes on from whatever is stored when the power failed between any two writes', async () => {
    const repository = repositoryOf().addRoot({});
    const whole = repository.store();
    unwrap(await refresh(repository, { store: whole }));
    for (let cut = 0; cut <= whole.done.length; cut += 1) {
      const store = repository.store();
      let left = cut;
      const write = store.write.bind(store);
      store.write = async (name, bytes) => {
        if (left === 0) throw new Error('power');
        left -= 1;
        await write(name, bytes);
      };
      await refresh(repository, { store }).catch(() => undefined);
      store.write = write;
      expect(await code(repository, { store })).toBe('accepted');
    }
  });
});

describe('root (§5.3)', () => {
  it('refuses to begin without a trusted root', async () => {
    const repository = repositoryOf();
    const store = repository.store();
    store.files.delete('root');
    expect(await code(repository, { store })).toBe('metadata-missing');
  });

  it('refuses a trusted root that was damaged on disk', async () => {
    const repository = repositoryOf();
    const store = repository.store();
    store.files.set('root', signTestMetadata({ ...repository.root, version: 7 }, [KEYS.stranger]));
    expect(await code(repository, { store })).toBe('metadata-threshold-not-met');
  });

  it('follows the chain and stores each step', async () => {
    const repository = repositoryOf().addRoot({}).addRoot({});
    const store = repository.store();
    const trusted = unwrap(await refresh(repository, { store }));
    expect(trusted).toMatchObject({ rootRotated: true, root: { version: 3 } });
    expect(store.done.slice(0, 2)).toEqual(['write root', 'write root']);
    expect(store.files.get('root')).toEqual(repository.file('3.root.json'));
  });

  it('takes a root that changes the root keys when both old and new sign', async () => {
    const fresh = [testKey('root 4'), testKey('root 5')];
    const repository = repositoryOf();
    const keys = { ...repository.root.keys, ...Object.fromEntries(fresh.map((k) => [k.keyId, tufKeyOf(k.publicKey)])) };
    const roles = { ...repository.root.roles, root: roleOf(fresh, 2) };
    const old = KEYS.root.slice(0, 2);
    const good = () => repositoryOf().addRoot({ keys, roles }, [...old, ...fresh]);
    expect(await code(good())).toBe('accepted');
    expect(await code(repositoryOf().addRoot({ keys, roles }, old))).toBe('root-chain-broken');
    expect(await code(repositoryOf().addRoot({ keys, roles }, fresh))).toBe('root-chain-broken');
    expect(await code(repositoryOf().addRoot({ keys, roles }, [...old.slice(1), ...fresh]))).toBe('root-chain-broken');
  });

  it('refuses a root that skips a version', async () => {
    const skipping = repositoryOf();
    skipping.metadata.set('2.root.json', signTestMetadata({ ...skipping.root, version: 3 }, KEYS.root));
    expect(await code(skipping)).toBe('root-chain-broken');
    const same = repositoryOf();
    same.metadata.set('2.root.json', same.file('1.root.json'));
    expect(await code(same)).toBe('root-chain-broken');
  });

  it('does not store a root that it refuses', async () => {
    const repository = repositoryOf().addRoot({}, [KEYS.stranger, KEYS.root[0]]);
    const store = repository.store();
    expect(await code(repository, { store })).toBe('root-chain-broken');
    expect(store.done).toEqual([]);
  });

  it('keeps the roots that it accepted before a broken one', async () => {
    const repository = repositoryOf().addRoot({}).addRoot({}, [KEYS.stranger]);
    const store = repository.store();
    expect(await code(repository, { store })).toBe('root-chain-broken');
    expect(store.files.get('root')).toEqual(repository.file('2.root.json'));
  });

  it('lets an expired root stand in the middle of the chain and refuses one at its end', async () => {
    const expires = encodeTufDate(NOW_UNIX_S - 1);
    const later = encodeTufDate(NOW_UNIX_S + DAY_S);
    expect(await code(repositoryOf().addRoot({ expires }).addRoot({ expires: later }))).toBe('accepted');
    expect(await code(repositoryOf().addRoot({ expires }))).toBe('metadata-expired');
    expect(await code(repositoryOf().addRoot({ expires }), { mode: { offline: true } })).toBe('metadata-expired');
  });

  it('refuses a root at the very second of its expiry', async () => {
    expect(await code(repositoryOf().addRoot({ expires: encodeTufDate(NOW_UNIX_S) }))).toBe('metadata-expired');
    expect(await code(repositoryOf().addRoot({ expires: encodeTufDate(NOW_UNIX_S + 1) }))).toBe('accepted');
  });

  it('takes 256 roots in one run, refuses a longer chain, and goes on from there in the next run', async () => {
    const repository = repositoryOf();
    for (let i = 0; i < MAX_ROOT_STEPS + 1; i += 1) repository.addRoot({});
    const store = repository.store();
    expect(await code(repository, { store })).toBe('root-chain-too-long');
    expect(await code(repository, { store })).toBe('accepted');
    repository.metadata.delete(`${MAX_ROOT_STEPS + 2}.root.json`);
    expect(await code(repository)).toBe('accepted');
  }, 120_000);

  it.each(['lab', 'production'] as const)('refuses a %s root on a rehearsal device', async (environment) => {
    const repository = new TestRepository({ environment }).add(RELEASE).publish();
    expect(await code(repository)).toBe('environment-mismatch');
    expect(await code(repository, { mode: { environment } })).toBe('accepted');
  });

  it('is brought up to date alone, whatever became of the timestamp, and as strictly', async () => {
    const alone = (repository: TestRepository, store = repository.store()) =>
      refreshRoot({ store, source: repository.source(), time: repository.time(), mode: DEVICE_MODE });
    const repository = repositoryOf({ timestamp: { expires: encodeTufDate(NOW_UNIX_S - 1) } })
      .addRoot({})
      .addRoot({});
    const store = repository.store();
    expect(unwrap(await alone(repository, store)).version).toBe(3);
    expect(store.done).toEqual(['write root', 'write root']);
    expect(codeOf(await alone(repositoryOf().addRoot({}, [KEYS.stranger, KEYS.root[0]])))).toBe('root-chain-broken');
    expect(codeOf(await alone(repositoryOf().addRoot({ expires: encodeTufDate(NOW_UNIX_S) })))).toBe(
      'metadata-expired',
    );
    expect(unwrap(await alone(repositoryOf())).version).toBe(1);
  });

  it('refuses, unstored, a root that changes the environment', async () => {
    const repository = repositoryOf();
    repository.addRoot({ holdfast: { ...repository.root.holdfast, environment: 'lab' } });
    const store = repository.store();
    expect(await code(repository, { store })).toBe('environment-mismatch');
    expect(store.done).toEqual([]);
  });
});

describe('fast-forward recovery (§5.3.11)', () => {
  const fresh = testKey('timestamp 2');

  function rotated(repository: TestRepository, role: 'timestamp' | 'snapshot', keep: boolean): TestRepository {
    const members = keep ? [...KEYS[role], fresh] : [fresh];
    return repository.addRoot({
      keys: { ...repository.root.keys, [fresh.keyId]: tufKeyOf(fresh.publicKey) },
      roles: { ...repository.root.roles, [role]: roleOf(members) },
    });
  }

  it.each([
    ['timestamp', false],
    ['timestamp', true],
    ['snapshot', false],
    ['snapshot', true],
  ] as const)(
    'forgets stored timestamp and snapshot when the %s keys change (old key kept: %s)',
    async (role, keep) => {
      const repository = repositoryOf();
      const store = repository.store();
      // Somebody who held the online keys drove the versions up.
      repository.publish({ timestamp: { version: 1_000_000 }, snapshot: { version: 1_000_000 } });
      unwrap(await refresh(repository, { store }));
      const healed = new TestRepository().add(RELEASE).publish();
      expect(await code(healed, { store })).toBe('metadata-version-rollback');
      rotated(healed, role, keep).publish({ signers: { [role]: [fresh] } });
      expect(await code(healed, { store })).toBe('accepted');
      expect(store.done.indexOf('remove timestamp')).toBeLessThan(store.done.indexOf('write root'));
      expect(store.done).toContain('remove snapshot');
    },
  );

  it('keeps them when only other keys change', async () => {
    const repository = repositoryOf();
    const store = repository.store();
    unwrap(await refresh(repository, { store }));
    repository.addRoot({ roles: { ...repository.root.roles, targets: roleOf(KEYS.targets, 1) } }).publish();
    unwrap(await refresh(repository, { store }));
    expect(store.done.filter((step) => step.startsWith('remove'))).toEqual([]);
  });
});

describe('timestamp (§5.4)', () => {
  it('refuses a source without one', async () => {
    expect(await code(repositoryOf().replace('timestamp.json', () => undefined))).toBe('metadata-missing');
  });

  it('refuses one by another key, and one that was changed', async () => {
    expect(await code(repositoryOf({ signers: { timestamp: [KEYS.stranger] } }))).toBe('metadata-threshold-not-met');
    const changed = repositoryOf().replace('timestamp.json', (bytes) =>
      new TextEncoder().encode(new TextDecoder().decode(bytes).replace('"version":1}', '"version":9}')),
    );
    expect(await code(changed)).toBe('metadata-signature-invalid');
  });

  it('names the unknown key', async () => {
    const verdict = await refresh(repositoryOf({ signers: { timestamp: [KEYS.stranger] } }));
    expect(verdict).toMatchObject({ detail: expect.stringContaining(KEYS.stranger.keyId.slice(0, 16)) });
  });

  it('refuses an older one', async () => {
    const repository = repositoryOf();
    const store = repository.store();
    const old = repository.file('timestamp.json');
    repository.publish();
    unwrap(await refresh(repository, { store }));
    expect(
      await code(
        repository.replace('timestamp.json', () => old),
        { store },
      ),
    ).toBe('metadata-version-rollback');
  });

  it('refuses an older one though it names the very same snapshot', async () => {
    const repository = repositoryOf();
    const store = repository.store();
    const old = repository.file('timestamp.json');
    repository.publish({ targets: { version: 1 }, snapshot: { version: 1 } });
    unwrap(await refresh(repository, { store }));
    expect(
      await code(
        repository.replace('timestamp.json', () => old),
        { store },
      ),
    ).toBe('metadata-version-rollback');
  });

  it('refuses a newer one that names an older snapshot, though that one names the same targets', async () => {
    const repository = repositoryOf().publish({ targets: { version: 1 } });
    const store = repository.store();
    unwrap(await refresh(repository, { store }));
    const [first, second] = [1, 2].map((version) => ({ 'snapshot.json': { version } }));
    if (first === undefined || second === undefined) throw new Error('two are due');
    const again = { targets: { version: 1 }, snapshot: { version: 2 } };
    expect(await code(repository.publish({ ...again, timestamp: { meta: first } }), { store })).toBe(
      'metadata-version-rollback',
    );
    expect(await code(repository.publish({ ...again, timestamp: { meta: second } }), { store })).toBe('accepted');
  });

  it('keeps the trusted one when another of the same version is served', async () => {
    const repository = repositoryOf();
    const store = repository.store();
    unwrap(await refresh(repository, { store }));
    const twin = repositoryOf({ timestamp: { expires: encodeTufDate(NOW_UNIX_S + 300 * DAY_S) } });
    const kept = unwrap(await refresh(twin, { store }));
    expect(kept.timestamp.expires).toBe(encodeTufDate(NOW_UNIX_S + 3 * DAY_S));
    expect(store.files.get('timestamp')).toEqual(repository.file('timestamp.json'));
  });

  it('refuses a newer one that names an older snapshot', async () => {
    const repository = repositoryOf().publish();
    const store = repository.store();
    unwrap(await refresh(repository, { store }));
    repository.publish({ timestamp: { meta: { 'snapshot.json': { version: 1 } } } });
    expect(await code(repository, { store })).toBe('metadata-version-rollback');
  });

  it('refuses an expired one, and does not store it', async () => {
    const repository = repositoryOf({ timestamp: { expires: encodeTufDate(NOW_UNIX_S - 1) } });
    const store = repository.store();
    expect(await code(repository, { store })).toBe('metadata-expired');
    expect(store.done).toEqual([]);
  });

  it('refuses the stored one once it has expired and nothing newer is served', async () => {
    const repository = repositoryOf();
    const store = repository.store();
    unwrap(await refresh(repository, { store }));
    const time = { floorUnixS: 0, synchronisedUnixS: NOW_UNIX_S + 4 * DAY_S };
    expect(await code(repository, { store, time })).toBe('metadata-expired');
  });
});

describe('snapshot (§5.5)', () => {
  it('refuses a source without it, one by another key, and one of another version', async () => {
    expect(await code(repositoryOf().replace('1.snapshot.json', () => undefined))).toBe('metadata-missing');
    expect(await code(repositoryOf({ signers: { snapshot: [KEYS.stranger] } }))).toBe('metadata-threshold-not-met');
    const older = repositoryOf().publish();
    expect(await code(older.replace('2.snapshot.json', () => older.file('1.snapshot.json')))).toBe(
      'metadata-version-mismatch',
    );
  });

  it('refuses one whose digest or length differs from the timestamp’s', async () => {
    const plain = repositoryOf();
    const bytes = plain.file('1.snapshot.json');
    const meta = { version: 1, length: bytes.length, hashes: { sha256: sha256Hex(bytes) } };
    const named = (change: Partial<typeof meta>) =>
      repositoryOf({ timestamp: { meta: { 'snapshot.json': { ...meta, ...change } } } });
    expect(await code(named({}))).toBe('accepted');
    expect(await code(named({ length: bytes.length + 1 }))).toBe('metadata-hash-mismatch');
    expect(await code(named({ hashes: { sha256: '0'.repeat(64) } }))).toBe('metadata-hash-mismatch');
  });

  it('refuses one that names older targets, or forgets a file', async () => {
    const repository = repositoryOf().publish({
      snapshot: { meta: { 'targets.json': { version: 2 }, 'x.json': { version: 4 } } },
    });
    const store = repository.store();
    unwrap(await refresh(repository, { store }));
    const stored = new Map(store.files);
    const againFrom = () => Object.assign(repository.store(), { files: new Map(stored) });
    const next = (meta: Record<string, { version: number }>) => {
      const twin = repositoryOf().publish();
      return twin.publish({
        targets: { version: meta['targets.json']?.version ?? 0 },
        snapshot: { meta: { 'targets.json': { version: 0 }, ...meta } },
      });
    };
    expect(await code(next({ 'targets.json': { version: 2 }, 'x.json': { version: 4 } }), { store: againFrom() })).toBe(
      'accepted',
    );
    expect(await code(next({ 'targets.json': { version: 1 }, 'x.json': { version: 4 } }), { store: againFrom() })).toBe(
      'metadata-version-rollback',
    );
    expect(await code(next({ 'targets.json': { version: 2 }, 'x.json': { version: 3 } }), { store: againFrom() })).toBe(
      'metadata-version-rollback',
    );
    expect(await code(next({ 'targets.json': { version: 2 } }), { store: againFrom() })).toBe(
      'metadata-version-rollback',
    );
  });

  it('refuses an expired one', async () => {
    expect(await code(repositoryOf({ snapshot: { expires: encodeTufDate(NOW_UNIX_S - 1) } }))).toBe('metadata-expired');
  });

  it('fetches again when the stored one was damaged', async () => {
    const repository = repositoryOf();
    const store = repository.store();
    unwrap(await refresh(repository, { store }));
    store.files.set('snapshot', flipBit(repository.file('1.snapshot.json'), -20));
    expect(await code(repository, { store })).toBe('accepted');
    expect(store.files.get('snapshot')).toEqual(repository.file('1.snapshot.json'));
  });
});

describe('targets (§5.6)', () => {
  const [first, second] = KEYS.targets;

  it.each([
    ['no signature', [], 'metadata-threshold-not-met'],
    ['one of two signatures', [first], 'metadata-threshold-not-met'],
    ['one key that signs twice', [first, first], 'metadata-threshold-not-met'],
    ['one signature and a stranger’s', [first, KEYS.stranger], 'metadata-threshold-not-met'],
    ['signatures of another role', KEYS.root, 'metadata-threshold-not-met'],
    ['an author’s signature', [first, KEYS.camAuthor], 'metadata-threshold-not-met'],
    ['two different signatures', [first, second], 'accepted'],
    ['two signatures and a stranger’s', [first, second, KEYS.stranger], 'accepted'],
  ])('with %s', async (_what, signers, expected) => {
    expect(await code(repositoryOf({ signers: { targets: signers } }))).toBe(expected);
  });

  it('refuses a key id that signs twice even when the threshold is met', async () => {
    expect(await code(repositoryOf({ signers: { targets: [first, second, second] } }))).toBe('json-malformed');
  });

  it('counts one key under two ids once', async () => {
    const repository = new TestRepository().add(RELEASE);
    // A further member gives the same public key another id.
    const alias = { ...tufKeyOf(first.publicKey), note: 'the same key' };
    const aliasId = sha256Hex(
      new TextEncoder().encode(
        JSON.stringify({ keytype: 'ed25519', keyval: alias.keyval, note: alias.note, scheme: 'ed25519' }),
      ),
    );
    repository.addRoot({
      keys: { ...repository.root.keys, [aliasId]: alias },
      roles: { ...repository.root.roles, targets: { keyids: [first.keyId, aliasId, second.keyId], threshold: 2 } },
    });
    const byAlias = { ...first, keyId: aliasId };
    expect(await code(repository.publish({ signers: { targets: [first, byAlias] } }))).toBe(
      'metadata-threshold-not-met',
    );
    expect(await code(repository.publish({ signers: { targets: [byAlias, second] } }))).toBe('accepted');
  });

  it('refuses one whose version is not what the snapshot names, and one that is not there', async () => {
    const repository = repositoryOf().publish();
    expect(await code(repository.replace('2.targets.json', () => repository.file('1.targets.json')))).toBe(
      'metadata-version-mismatch',
    );
    expect(await code(repository.replace('2.targets.json', () => undefined))).toBe('metadata-missing');
  });

  it('refuses one whose digest differs from the snapshot’s', async () => {
    const meta = { 'targets.json': { version: 1, hashes: { sha512: '0'.repeat(128) } } };
    expect(await code(repositoryOf({ snapshot: { meta } }))).toBe('metadata-hash-mismatch');
  });

  it('refuses an expired one, offline too', async () => {
    const expired = { targets: { expires: encodeTufDate(NOW_UNIX_S - 1) } };
    expect(await code(repositoryOf(expired))).toBe('metadata-expired');
    expect(await code(repositoryOf(expired), { mode: { offline: true } })).toBe('metadata-expired');
  });

  it('does not believe stored targets whose keys the root no longer lists', async () => {
    const repository = repositoryOf();
    const store = repository.store();
    unwrap(await refresh(repository, { store }));
    const fresh = testKey('targets 4');
    repository.addRoot({
      keys: { ...repository.root.keys, [fresh.keyId]: tufKeyOf(fresh.publicKey) },
      roles: { ...repository.root.roles, targets: roleOf([fresh]) },
    });
    expect(await code(repository, { store })).toBe('metadata-threshold-not-met');
    repository.publish({ signers: { targets: [fresh] } });
    expect(await code(repository, { store })).toBe('accepted');
  });
});

describe('time', () => {
  const noClock = (floorUnixS: number): TrustTime => ({ floorUnixS, synchronisedUnixS: undefined });

  it('says unverified where no synchronised clock judged', async () => {
    const trusted = unwrap(await refresh(repositoryOf(), { time: noClock(NOW_UNIX_S - 30 * DAY_S) }));
    expect(trusted.freshness).toBe('unverified');
  });

  it('judges by the floor when it is all there is', async () => {
    expect(await code(repositoryOf(), { time: noClock(NOW_UNIX_S + 4 * DAY_S) })).toBe('metadata-expired');
  });

  it('does not let a clock that was set back revive expired metadata', async () => {
    const time = { floorUnixS: NOW_UNIX_S + 4 * DAY_S, synchronisedUnixS: NOW_UNIX_S };
    expect(await code(repositoryOf(), { time })).toBe('metadata-expired');
  });

  it.each(['timestamp', 'snapshot'] as const)('reports an expired %s offline, with the rest in order', async (role) => {
    const repository = repositoryOf({ [role]: { expires: encodeTufDate(NOW_UNIX_S - 1) } });
    expect(await code(repository)).toBe('metadata-expired');
    expect(unwrap(await refresh(repository, { mode: { offline: true } })).freshness).toBe('expired-reported');
  });

  it('offline and unexpired is as fresh as online', async () => {
    expect(unwrap(await refresh(repositoryOf(), { mode: { offline: true } })).freshness).toBe('verified');
  });
});

describe('a hostile source', () => {
  it.each(['2.root.json', 'timestamp.json', '1.snapshot.json', '1.targets.json'])(
    'refuses endless data as %s',
    async (name) => {
      const repository = repositoryOf();
      const role = name.replace(/^\d+\./, '').replace('.json', '') as keyof typeof METADATA_CAP_BYTES;
      const capped: number[] = [];
      const endless: MetadataSource = {
        fetchMetadata: async (asked, capBytes) => {
          if (asked !== name) return repository.source().fetchMetadata(asked, capBytes);
          capped.push(capBytes);
          return accept(new Uint8Array(capBytes + 1));
        },
      };
      expect(await code(repository, { source: endless })).toBe('input-too-large');
      expect(capped).toEqual([METADATA_CAP_BYTES[role]]);
    },
  );

  it('passes on the refusal of its source', async () => {
    const refusing: MetadataSource = { fetchMetadata: async () => refuse('transfer-endless', 'more than it may') };
    expect(await code(repositoryOf(), { source: refusing })).toBe('transfer-endless');
  });

  it('refuses one role’s file under another’s name', async () => {
    const repository = repositoryOf();
    expect(await code(repository.replace('timestamp.json', () => repository.file('1.snapshot.json')))).toBe(
      'metadata-wrong-type',
    );
  });

  it('refuses a file whose signed part is not canonical, though its signature is right', async () => {
    const spaced = repositoryOf().replace('timestamp.json', (bytes) =>
      new TextEncoder().encode(new TextDecoder().decode(bytes).replace('"_type":"timestamp"', '"_type": "timestamp"')),
    );
    expect(await code(spaced)).toBe('json-not-canonical');
    expect(await code(spaced, { mode: { canonicalForm: 'recomputed' } })).toBe('accepted');
  });
});
