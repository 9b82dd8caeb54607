/**
 * A whole trusted world in memory, for tests: people's keys, a root with authors, signed targets, online roles, and
 * releases with images, block maps and SUIT envelopes. Everything is derived from names, so two runs are the same.
 *
 *   const repository = new TestRepository().add(makeRelease({ sequence: 2 })).publish();
 *   const store = repository.store();                        // holds 1.root.json, as a factory leaves it
 *   await refreshMetadata({ store, source: repository.source(), time: repository.time(), mode: DEVICE_MODE });
 *
 * Hostile variants: `makeRelease` takes overrides for what SUIT says (`manifest`), what TUF says (`entry`) and who
 * signs (`author`); `publish` takes overrides for each signed file and its signers; `replace` swaps a served file.
 */
import { createPrivateKey, createSign } from 'node:crypto';
import { getPublicKey, sign } from '@noble/ed25519';
import { BlockMapBuilder, encodeBlockMap } from '../../../trust/blocks.ts';
import { hex, unhex, utf8, type Verified } from '../../../trust/bytes.ts';
import { encodeProtected, encodeSign1, type SignatureAlgorithm, sigStructure } from '../../../trust/cose.ts';
import { sha256, sha256Hex } from '../../../trust/crypto.ts';
import { accept, type Verdict } from '../../../trust/refusal.ts';
import type { DeviceIdentity } from '../../../trust/release.ts';
// Brings noble its SHA-512.
import '../../../trust/signature.ts';
import { encodeEnvelope, manifestDigest } from '../../../trust/suit/envelope.ts';
import { encodeManifest, type ManifestDescription } from '../../../trust/suit/manifest.ts';
import { encodeTufDate, type TrustTime } from '../../../trust/time.ts';
import type { MetadataSource, MetadataStore, RefreshMode } from '../../../trust/tuf/client.ts';
import {
  type AnyRole,
  type Author,
  consistentPath,
  type Environment,
  encodeMetadata,
  type ReleaseEntry,
  type RoleName,
  type Root,
  type Snapshot,
  SPEC_VERSION,
  signedBytes,
  type TargetFile,
  type Targets,
  type Timestamp,
  tufKeyId,
  tufKeyOf,
} from '../../../trust/tuf/metadata.ts';
import { makeSnapshot, makeTimestamp, verifyInitialRoot, verifySigned } from '../../../trust/tuf/repository.ts';

export const NOW_UNIX_S = Date.UTC(2026, 6, 1) / 1000;
const DAY_S = 24 * 3600;

export const VENDOR = 'acme.example';
export const DEVICE: DeviceIdentity = { vendor: VENDOR, hardwareClass: 'acme-cam', channel: 'stable' };
export const DEVICE_MODE: RefreshMode = { offline: false, environment: 'rehearsal', canonicalForm: 'required' };

// --- keys --------------------------------------------------------------------------------------------------------

export interface TestKey {
  readonly algorithm: SignatureAlgorithm;
  readonly publicKey: Uint8Array;
  /** TUF key id. */
  readonly keyId: string;
  /** Author key id: hex SHA-256 of the raw public key. */
  readonly authorId: string;
  /** The Ed25519 seed; undefined for ESP256. */
  readonly seed: Uint8Array | undefined;
  sign(message: Uint8Array): Uint8Array;
}

/** The Ed25519 key of a name: the same name gives the same key. */
export function testKey(name: string): TestKey {
  const seed = sha256(utf8(`holdfast test key ${name}`));
  const publicKey = getPublicKey(seed);
  return {
    algorithm: 'ed25519',
    publicKey,
    keyId: tufKeyId(tufKeyOf(publicKey)),
    authorId: sha256Hex(publicKey),
    seed,
    sign: (message) => sign(message, seed),
  };
}

/** A P-256 key: the one printed in the SUIT draft's appendix B, so public that nobody can mistake it for a secret. */
export function esp256TestKey(): TestKey {
  const pkcs8 =
    '308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420029' +
    '6588d909418b339d150420a3612b57fb4f631a69f224fae90cb4f3fe18973a14403420004' +
    '8496811aae0baaabd26157189eecda26beaa8bf11b6f3fe6e2b5659c85dbc0ad3b1f2a4b6' +
    'c098131c0a36dacd1d78bd381dcdfb09c052db33991db7338b4a896';
  const key = createPrivateKey({ key: Buffer.from(pkcs8, 'hex'), format: 'der', type: 'pkcs8' });
  const publicKey = unhex(pkcs8.slice(-130)) ?? new Uint8Array(0);
  return {
    algorithm: 'esp256',
    publicKey,
    keyId: sha256Hex(publicKey),
    authorId: sha256Hex(publicKey),
    seed: undefined,
    sign: (message) => new Uint8Array(createSign('sha256').update(message).sign({ key, dsaEncoding: 'ieee-p1363' })),
  };
}

export const KEYS = {
  root: [testKey('root 1'), testKey('root 2'), testKey('root 3')],
  targets: [testKey('targets 1'), testKey('targets 2'), testKey('targets 3')],
  snapshot: [testKey('snapshot')],
  timestamp: [testKey('timestamp')],
  /** Scoped to acme-cam. */
  camAuthor: testKey('author acme-cam'),
  /** Scoped to acme-hub. */
  hubAuthor: testKey('author acme-hub'),
  /** Scoped to every class, ESP256. */
  anyAuthor: esp256TestKey(),
  /** In no root. */
  stranger: testKey('stranger'),
} as const;

export function authorOf(key: TestKey, hardwareClasses: readonly string[]): Author {
  return { keyId: key.authorId, algorithm: key.algorithm, publicKey: hex(key.publicKey), hardwareClasses };
}

// --- releases ----------------------------------------------------------------------------------------------------

export interface ReleaseOptions {
  readonly sequence?: number;
  readonly version?: string;
  readonly hardwareClass?: string;
  readonly channel?: string;
  readonly floorSequence?: number;
  /** By component; a 4 KiB `boot` and a `rootfs` of two and a bit blocks when absent. */
  readonly images?: Readonly<Record<string, Uint8Array>>;
  /** Who signs the envelope; none for an unsigned one. */
  readonly authors?: readonly TestKey[];
  /** What SUIT says, where it is to differ. */
  readonly manifest?: Partial<ManifestDescription>;
  /** What TUF says, where it is to differ. */
  readonly entry?: Partial<ReleaseEntry>;
  /** Changes the envelope before TUF lists it: what targets keys in wrong hands would sign. */
  readonly envelope?: (envelope: Uint8Array) => Uint8Array;
}

export interface TestRelease {
  readonly releasePath: string;
  readonly entry: ReleaseEntry;
  readonly description: ManifestDescription;
  readonly manifest: Uint8Array;
  readonly envelope: Uint8Array;
  readonly images: Readonly<Record<string, Uint8Array>>;
  /** By component, encoded. */
  readonly blockMaps: Readonly<Record<string, Uint8Array>>;
  /** Everything as targets metadata lists it, and the bytes. */
  readonly files: ReadonlyMap<string, { readonly target: TargetFile; readonly bytes: Uint8Array }>;
}

/** Bytes that differ from block to block and from name to name. */
export function testImage(name: string, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  let state = sha256(utf8(name));
  for (let at = 0; at < sizeBytes; at += 4096) {
    state = sha256(state);
    for (let i = at; i < Math.min(at + 4096, sizeBytes); i += state.length) {
      bytes.set(state.subarray(0, Math.min(state.length, sizeBytes - i)), i);
    }
  }
  return bytes;
}

/** A COSE_Sign1 by `key` over a manifest's digest. */
export function signManifest(manifest: Uint8Array, key: TestKey): Uint8Array {
  const protectedBytes = encodeProtected(key.algorithm, unhex(key.authorId) ?? new Uint8Array(0));
  const signature = key.sign(sigStructure(protectedBytes, new Uint8Array(0), manifestDigest(manifest)));
  return encodeSign1({ protectedBytes, signature });
}

export function makeRelease(options: ReleaseOptions = {}): TestRelease {
  const { sequence = 2, hardwareClass = 'acme-cam', channel = 'stable', floorSequence = 0 } = options;
  const version = options.version ?? `${sequence}.0.0`;
  const images = options.images ?? {
    boot: testImage(`boot ${version}`, 4096),
    rootfs: testImage(`rootfs ${version}`, 2 * 1024 * 1024 + 1234),
  };
  const folder = `releases/${hardwareClass}/${channel}/${sequence}`;
  const files = new Map<string, { target: TargetFile; bytes: Uint8Array }>();
  const blockMaps: Record<string, Uint8Array> = {};
  const list = (path: string, bytes: Uint8Array, holdfast: NonNullable<TargetFile['custom']>['holdfast']): void => {
    const target = { length: bytes.length, hashes: { sha256: sha256Hex(bytes) } };
    files.set(path, { bytes, target: holdfast === undefined ? target : { ...target, custom: { holdfast } } });
  };
  const entries = Object.entries(images).map(([component, bytes]) => {
    const { map, sha256: digest } = new BlockMapBuilder().update(bytes).finish();
    const [image, blockMap] = [`${folder}/${component}.img`, `${folder}/${component}.blocks`];
    const encodedMap = encodeBlockMap(map);
    blockMaps[component] = encodedMap;
    list(image, bytes, { kind: 'image' });
    list(blockMap, encodedMap, { kind: 'block-map' });
    return { component, sizeBytes: bytes.length, sha256: digest, image, blockMap };
  });
  const facts = { channel, version, sequence, floorSequence, buildUnixS: NOW_UNIX_S - DAY_S };
  const entry: ReleaseEntry = {
    ...{ kind: 'release', vendor: VENDOR, hardwareClass, ...facts, images: entries },
    ...options.entry,
  };
  const description: ManifestDescription = {
    ...{ vendor: VENDOR, hardwareClass, ...facts },
    images: entries.map(({ component, sizeBytes, sha256: digest, image }) => ({
      ...{ component, sizeBytes, sha256: digest, uri: image },
    })),
    ...options.manifest,
  };
  const manifest = encodeManifest(description);
  const authors = options.authors ?? [hardwareClass === 'acme-hub' ? KEYS.hubAuthor : KEYS.camAuthor];
  const signed = encodeEnvelope({ manifest, signatures: authors.map((key) => signManifest(manifest, key)) });
  const envelope = options.envelope?.(signed) ?? signed;
  const releasePath = `${folder}/release.suit`;
  list(releasePath, envelope, entry);
  return { releasePath, entry, description, manifest, envelope, images, blockMaps, files };
}

// --- the repository ----------------------------------------------------------------------------------------------

export interface RootOptions {
  readonly environment?: Environment;
  readonly authors?: readonly Author[];
}

/** Root version 1: root and targets 2-of-3, snapshot and timestamp 1-of-1. */
export function draftTestRoot(options: RootOptions = {}): Root {
  const keys: Record<string, ReturnType<typeof tufKeyOf>> = {};
  const role = (members: readonly TestKey[], threshold: number) => {
    for (const { keyId, publicKey } of members) keys[keyId] = tufKeyOf(publicKey);
    return { keyids: members.map(({ keyId }) => keyId), threshold };
  };
  return {
    _type: 'root',
    spec_version: SPEC_VERSION,
    version: 1,
    expires: encodeTufDate(NOW_UNIX_S + 730 * DAY_S),
    consistent_snapshot: true,
    roles: {
      root: role(KEYS.root, 2),
      targets: role(KEYS.targets, 2),
      snapshot: role(KEYS.snapshot, 1),
      timestamp: role(KEYS.timestamp, 1),
    },
    keys,
    holdfast: {
      environment: options.environment ?? 'rehearsal',
      authors: options.authors ?? [
        authorOf(KEYS.camAuthor, ['acme-cam']),
        authorOf(KEYS.hubAuthor, ['acme-hub']),
        authorOf(KEYS.anyAuthor, ['*']),
      ],
      servers: [],
      escrowKeys: [],
    },
  };
}

export function signTestMetadata(signed: AnyRole, signers: readonly TestKey[]): Uint8Array {
  const bytes = signedBytes(signed);
  return encodeMetadata(
    signed,
    signers.map((key) => ({ keyid: key.keyId, sig: hex(key.sign(bytes)) })),
  );
}

export interface PublishOptions {
  readonly targets?: Partial<Targets>;
  readonly snapshot?: Partial<Snapshot>;
  readonly timestamp?: Partial<Timestamp>;
  readonly signers?: Partial<Record<'targets' | 'snapshot' | 'timestamp', readonly TestKey[]>>;
}

/** A TUF repository as a server holds it; `publish` signs the next version of everything below root. */
export class TestRepository {
  /** Served metadata, by file name. */
  readonly metadata = new Map<string, Uint8Array>();
  /** Served targets, by consistent path. */
  readonly targetFiles = new Map<string, Uint8Array>();
  readonly releases: TestRelease[] = [];
  root: Root;
  targets: Targets | undefined;
  #versions = { targets: 0, snapshot: 0, timestamp: 0 };

  constructor(options: RootOptions = {}) {
    this.root = draftTestRoot(options);
    this.metadata.set('1.root.json', signTestMetadata(this.root, KEYS.root.slice(0, 2)));
  }

  add(...releases: readonly TestRelease[]): this {
    this.releases.push(...releases);
    return this;
  }

  /** Signs and serves a new root; by the first two root keys unless told otherwise. */
  addRoot(change: Partial<Root>, signers: readonly TestKey[] = KEYS.root.slice(0, 2)): this {
    this.root = { ...this.root, version: this.root.version + 1, ...change };
    this.metadata.set(`${this.root.version}.root.json`, signTestMetadata(this.root, signers));
    return this;
  }

  publish(options: PublishOptions = {}): this {
    const listed: Record<string, TargetFile> = {};
    for (const release of this.releases) {
      for (const [path, { target, bytes }] of release.files) {
        listed[path] = target;
        this.targetFiles.set(consistentPath(path, target.hashes.sha256), bytes);
      }
    }
    const version = this.#versions;
    this.targets = {
      ...{ _type: 'targets', spec_version: SPEC_VERSION, version: version.targets + 1 },
      ...{ expires: encodeTufDate(NOW_UNIX_S + 365 * DAY_S), targets: listed },
      ...options.targets,
    };
    const snapshot: Snapshot = {
      ...makeSnapshot({
        version: version.snapshot + 1,
        expires: encodeTufDate(NOW_UNIX_S + 14 * DAY_S),
        targetsVersion: this.targets.version,
      }),
      ...options.snapshot,
    };
    const timestamp: Timestamp = {
      ...makeTimestamp({
        version: version.timestamp + 1,
        expires: encodeTufDate(NOW_UNIX_S + 3 * DAY_S),
        snapshotVersion: snapshot.version,
      }),
      ...options.timestamp,
    };
    const by = options.signers ?? {};
    this.metadata.set(
      `${this.targets.version}.targets.json`,
      signTestMetadata(this.targets, by.targets ?? KEYS.targets.slice(0, 2)),
    );
    this.metadata.set(`${snapshot.version}.snapshot.json`, signTestMetadata(snapshot, by.snapshot ?? KEYS.snapshot));
    this.metadata.set('timestamp.json', signTestMetadata(timestamp, by.timestamp ?? KEYS.timestamp));
    this.#versions = { targets: this.targets.version, snapshot: snapshot.version, timestamp: timestamp.version };
    return this;
  }

  /** Swaps a served metadata file; undefined takes it away. */
  replace(name: string, change: (bytes: Uint8Array) => Uint8Array | undefined): this {
    const bytes = change(this.file(name));
    if (bytes === undefined) this.metadata.delete(name);
    else this.metadata.set(name, bytes);
    return this;
  }

  file(name: string): Uint8Array {
    const bytes = this.metadata.get(name);
    if (bytes === undefined) throw new Error(`the test repository has no ${name}`);
    return bytes;
  }

  source(): TestSource {
    return new TestSource(this);
  }

  /** A store as the factory leaves it: root 1 and nothing else. */
  store(): MemoryMetadataStore {
    return new MemoryMetadataStore(this.file('1.root.json'));
  }

  time(): TrustTime {
    return { floorUnixS: NOW_UNIX_S - 30 * DAY_S, synchronisedUnixS: NOW_UNIX_S };
  }

  verifiedRoot(): Verified<Root> {
    return unwrap(verifyInitialRoot(this.file(`${this.root.version}.root.json`)));
  }

  verifiedTargets(): Verified<Targets> {
    const name = `${this.#versions.targets}.targets.json`;
    return unwrap(verifySigned(this.verifiedRoot(), 'targets', this.file(name)));
  }
}

/** Serves a test repository; counts what was asked. Has every method of the agent's ReleaseSource. */
export class TestSource implements MetadataSource {
  readonly description = 'test repository';
  readonly asked: string[] = [];
  readonly #repository: TestRepository;

  constructor(repository: TestRepository) {
    this.#repository = repository;
  }

  async fetchMetadata(name: string, capBytes: number): Promise<Verdict<Uint8Array | undefined>> {
    this.asked.push(name);
    return accept(this.#repository.metadata.get(name)?.slice(0, capBytes + 1));
  }

  async fetchTarget(path: string, capBytes: number): Promise<Verdict<Uint8Array>> {
    this.asked.push(path);
    return accept(this.#target(path).slice(0, capBytes + 1));
  }

  async fetchRange(path: string, offset: number, length: number): Promise<Verdict<Uint8Array>> {
    this.asked.push(`${path} ${offset}+${length}`);
    return accept(this.#target(path).slice(offset, offset + length));
  }

  #target(path: string): Uint8Array {
    const bytes = this.#repository.targetFiles.get(path);
    if (bytes === undefined) throw new Error(`the test repository has no target ${path}`);
    return bytes;
  }
}

/** Metadata in memory, with a list of what was done to it, in order: `write root`, `remove snapshot`. */
export class MemoryMetadataStore implements MetadataStore {
  readonly files = new Map<RoleName, Uint8Array>();
  readonly done: string[] = [];

  constructor(root?: Uint8Array) {
    if (root !== undefined) this.files.set('root', root);
  }

  async read(name: RoleName): Promise<Uint8Array | undefined> {
    return this.files.get(name);
  }

  async write(name: RoleName, bytes: Uint8Array): Promise<void> {
    this.done.push(`write ${name}`);
    this.files.set(name, bytes);
  }

  async remove(name: RoleName): Promise<void> {
    this.done.push(`remove ${name}`);
    this.files.delete(name);
  }
}

// --- small things ------------------------------------------------------------------------------------------------

/** The value of an accepted verdict; throws with code and detail otherwise. */
export function unwrap<T>(verdict: Verdict<T>): T {
  if (verdict.ok) return verdict.value;
  throw new Error(`${verdict.code}: ${verdict.detail}`);
}

/** `accepted`, or the code of the refusal: what most assertions compare. */
export function codeOf(verdict: Verdict<unknown>): string {
  return verdict.ok ? 'accepted' : verdict.code;
}

/** A copy with one bit of one byte flipped; a negative index counts from the end. */
export function flipBit(bytes: Uint8Array, index: number, bit = 0): Uint8Array {
  const copy = Uint8Array.from(bytes);
  const at = index < 0 ? copy.length + index : index;
  copy[at] = (copy[at] ?? 0) ^ (1 << bit);
  return copy;
}
