/**
 * A maker with real keys: signs roots, targets and releases as the ceremony would, and serves them from memory. Every
 * part can be altered before it is signed, so that one respect at a time is wrong.
 */
import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { type ImageTransport, type ReleaseSource, SourceUnreachable } from '../../agent/core/ports.ts';
import type { Action } from '../../protocol/device-api.ts';
import { BLOCK_BYTES, encodeBlockMap, makeBlockMap } from '../../trust/blocks.ts';
import { hex } from '../../trust/bytes.ts';
import { encodeProtected, encodeSign1, sigStructure } from '../../trust/cose.ts';
import { sha256, sha256Hex } from '../../trust/crypto.ts';
import { accept, refuse, type Verdict } from '../../trust/refusal.ts';
import { encodeEnvelope, manifestDigest } from '../../trust/suit/envelope.ts';
import { encodeManifest, type ManifestDescription } from '../../trust/suit/manifest.ts';
import { encodeTufDate } from '../../trust/time.ts';
import {
  type AnyRole,
  consistentPath,
  encodeMetadata,
  type ReleaseEntry,
  type Root,
  SPEC_VERSION,
  signedBytes,
  type TargetFile,
  type Targets,
  tufKeyId,
  tufKeyOf,
} from '../../trust/tuf/metadata.ts';
import { makeSnapshot, makeTimestamp } from '../../trust/tuf/repository.ts';

export const VENDOR = 'acme.example';
export const HARDWARE_CLASS = 'acme-cam';
export const CHANNEL = 'stable';
/** 2026-01-01T00:00:00Z: what tests call now. */
export const NOW_UNIX_S = 1_767_225_600;
const DAY_S = 86_400;

export interface TestKey {
  readonly publicKey: Uint8Array;
  readonly privateKey: KeyObject;
}

/** Claims to be one key and signs with another. */
export function forgedKey(claimed: TestKey, signer: TestKey): TestKey {
  return { publicKey: claimed.publicKey, privateKey: signer.privateKey };
}

/** The same name, the same key. */
export function testKey(name: string): TestKey {
  const seed = createHash('sha256').update(`holdfast test key ${name}`).digest();
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  return { publicKey: new Uint8Array(spki.subarray(-32)), privateKey };
}

/** An image that lies elsewhere, and is too large to hold: what is signed about it. */
export interface HashedImage {
  readonly sizeBytes: number;
  readonly sha256: string;
  /** Encoded. */
  readonly blockMap: Uint8Array;
}

export interface ReleaseWish {
  readonly sequence: number;
  readonly version: string;
  readonly floorSequence?: number;
  readonly hardwareClass?: string;
  readonly channel?: string;
  readonly buildUnixS?: number;
  readonly images: Readonly<Record<string, Uint8Array | HashedImage>>;
  readonly author?: TestKey;
  /** Signs, says this, after TUF's part was made: TUF and SUIT disagree. */
  readonly alterManifest?: (description: ManifestDescription) => ManifestDescription;
  /** Served instead of the true bytes; what is signed stays. */
  readonly serveImage?: Readonly<Record<string, Uint8Array>>;
  /** The digest that is signed for an image, in TUF and SUIT alike. */
  readonly signDigest?: Readonly<Record<string, string>>;
  readonly alterEnvelope?: (envelope: Uint8Array) => Uint8Array;
}

export class TestMaker {
  readonly root = testKey('root');
  readonly targets = testKey('targets');
  online = testKey('online');
  readonly author = testKey('author');
  readonly otherAuthor = testKey('author of acme-hub');
  readonly metadata = new Map<string, Uint8Array>();
  /** By consistent path. */
  readonly files = new Map<string, Uint8Array>();
  #listed: Record<string, TargetFile> = {};
  readonly #nowUnixS: number;
  #version = 0;
  #rootVersion = 0;

  /** `nowUnixS`: when all is signed; the present for programs that read the machine's own clock. */
  constructor(nowUnixS = NOW_UNIX_S) {
    this.#nowUnixS = nowUnixS;
    this.rotateRoot();
    this.publish();
  }

  get factoryRoot(): Uint8Array {
    return this.metadata.get('1.root.json') ?? new Uint8Array();
  }

  /** The next root, signed by the same key; `expiresUnixS` in Unix seconds. */
  rotateRoot(expiresUnixS = this.#nowUnixS + 700 * DAY_S): void {
    this.#rootVersion += 1;
    const ids = [this.root, this.targets, this.online].map((key) => tufKeyId(tufKeyOf(key.publicKey)));
    const [root = '', targets = '', online = ''] = ids;
    const role = (keyid: string) => ({ keyids: [keyid], threshold: 1 });
    const signed: Root = {
      _type: 'root',
      spec_version: SPEC_VERSION,
      version: this.#rootVersion,
      expires: encodeTufDate(expiresUnixS),
      consistent_snapshot: true,
      keys: Object.fromEntries(
        [this.root, this.targets, this.online].map((key, at) => [ids[at] ?? '', tufKeyOf(key.publicKey)]),
      ),
      roles: { root: role(root), targets: role(targets), snapshot: role(online), timestamp: role(online) },
      holdfast: {
        environment: 'rehearsal',
        authors: [authorOf(this.author, ['acme-cam']), authorOf(this.otherAuthor, ['acme-hub'])],
        servers: [],
        escrowKeys: [],
      },
    };
    this.metadata.set(`${this.#rootVersion}.root.json`, signMetadata(signed, this.root));
  }

  /** Another online key, by a new root: timestamp and snapshot of the old one stop counting. */
  rotateOnlineKey(): void {
    this.online = testKey(`online after root ${this.#rootVersion}`);
    this.rotateRoot();
    this.publish();
  }

  /** Signs targets, snapshot and timestamp anew, one version on. */
  publish(options: { readonly targetsKey?: TestKey; readonly timestampExpiresUnixS?: number } = {}): void {
    this.#version += 1;
    const version = this.#version;
    const expires = (days: number) => encodeTufDate(this.#nowUnixS + days * DAY_S);
    const common = { spec_version: SPEC_VERSION, version };
    const targets: Targets = { _type: 'targets', ...common, expires: expires(365), targets: this.#listed };
    this.metadata.set(`${version}.targets.json`, signMetadata(targets, options.targetsKey ?? this.targets));
    const snapshot = makeSnapshot({ version, expires: expires(14), targetsVersion: version });
    this.metadata.set(`${version}.snapshot.json`, signMetadata(snapshot, this.online));
    const timestampExpires = encodeTufDate(options.timestampExpiresUnixS ?? this.#nowUnixS + 3 * DAY_S);
    const timestamp = makeTimestamp({ version, expires: timestampExpires, snapshotVersion: version });
    this.metadata.set('timestamp.json', signMetadata(timestamp, this.online));
  }

  /** Builds, signs and publishes a release; the action that a server would offer for it. */
  release(wish: ReleaseWish): Action {
    const { sequence, version } = wish;
    const folder = `releases/${wish.hardwareClass ?? HARDWARE_CLASS}/${wish.channel ?? CHANNEL}/${sequence}`;
    const images = Object.entries(wish.images).map(([component, bytes]) =>
      this.#addImage(folder, component, bytes, wish),
    );
    const facts = {
      vendor: VENDOR,
      hardwareClass: wish.hardwareClass ?? HARDWARE_CLASS,
      channel: wish.channel ?? CHANNEL,
      version,
      sequence,
      floorSequence: wish.floorSequence ?? 0,
      buildUnixS: wish.buildUnixS ?? NOW_UNIX_S - DAY_S,
    };
    const entry: ReleaseEntry = { kind: 'release', ...facts, images };
    const inSuit = images.map(({ component, sizeBytes, sha256: digest, image }) => ({
      component,
      sizeBytes,
      sha256: digest,
      uri: image,
    }));
    const description = { ...facts, images: inSuit };
    const envelope = signEnvelope(
      encodeManifest(wish.alterManifest?.(description) ?? description),
      wish.author ?? this.author,
    );
    this.#add(`${folder}/release.suit`, envelope, { holdfast: entry }, wish.alterEnvelope?.(envelope));
    this.publish();
    const releasePath = `${folder}/release.suit`;
    const ids = { actionId: `action-${sequence}`, rolloutId: `rollout-${sequence}` };
    return { ...ids, releasePath, sequence, version, deadlineUnixMs: (NOW_UNIX_S + DAY_S) * 1000 };
  }

  #addImage(folder: string, component: string, bytes: Uint8Array | HashedImage, wish: ReleaseWish) {
    const { sizeBytes, sha256: found, blockMap: map } = bytes instanceof Uint8Array ? hashImage(bytes) : bytes;
    const blockMap = `${folder}/${component}.blocks`;
    this.#add(blockMap, map, { holdfast: { kind: 'block-map' } });
    const image = `${folder}/${component}.img`;
    const digest = wish.signDigest?.[component] ?? found;
    this.#list(image, sizeBytes, digest, { holdfast: { kind: 'image' } });
    const served = wish.serveImage?.[component] ?? (bytes instanceof Uint8Array ? bytes : undefined);
    if (served !== undefined) this.files.set(consistentPath(image, digest), served);
    return { component, sizeBytes, sha256: digest, image, blockMap };
  }

  #add(path: string, bytes: Uint8Array, custom: TargetFile['custom'] & object, served = bytes): void {
    this.#list(path, bytes.length, sha256Hex(bytes), custom);
    this.files.set(consistentPath(path, sha256Hex(bytes)), served);
  }

  #list(path: string, length: number, digest: string, custom: TargetFile['custom'] & object): void {
    this.#listed = { ...this.#listed, [path]: { length, hashes: { sha256: digest }, custom } };
  }
}

function hashImage(bytes: Uint8Array): HashedImage {
  const digests: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) digests.push(sha256(bytes.subarray(at, at + BLOCK_BYTES)));
  const blockMap = encodeBlockMap(makeBlockMap(bytes.length, digests));
  return { sizeBytes: bytes.length, sha256: sha256Hex(bytes), blockMap };
}

function authorOf(key: TestKey, hardwareClasses: readonly string[]) {
  const facts = { algorithm: 'ed25519', publicKey: hex(key.publicKey), hardwareClasses } as const;
  return { keyId: sha256Hex(key.publicKey), ...facts };
}

function signMetadata(signed: AnyRole, key: TestKey): Uint8Array {
  const signature = sign(null, signedBytes(signed), key.privateKey);
  return encodeMetadata(signed, [{ keyid: tufKeyId(tufKeyOf(key.publicKey)), sig: signature.toString('hex') }]);
}

function signEnvelope(manifest: Uint8Array, author: TestKey): Uint8Array {
  const protectedBytes = encodeProtected('ed25519', sha256(author.publicKey));
  const covered = sigStructure(protectedBytes, new Uint8Array(), manifestDigest(manifest));
  const signature = new Uint8Array(sign(null, covered, author.privateKey));
  return encodeEnvelope({ manifest, signatures: [encodeSign1({ protectedBytes, signature })] });
}

/** Serves what a maker published; counts what was fetched, and can be away. */
export class MemorySource implements ReleaseSource {
  readonly description = 'memory';
  readonly maker: TestMaker;
  away = false;
  /** Smaller forms of the images; none, unless a test gives them. */
  transport?: ImageTransport;
  /** `path@offset` of every range that was served. */
  readonly ranges: string[] = [];
  /** Called before each range: a test's moment to change the world. */
  beforeRange: (path: string, offset: number) => void = () => {};
  /** Given every answer, and how many bytes were asked for; what it answers is served. */
  onFetch: (kind: 'metadata' | 'target' | 'range', capBytes: number, bytes: Uint8Array) => Uint8Array = (
    _,
    __,
    bytes,
  ) => bytes;

  constructor(maker: TestMaker) {
    this.maker = maker;
  }

  async fetchMetadata(name: string, capBytes = 0): Promise<Verdict<Uint8Array | undefined>> {
    if (this.away) throw new SourceUnreachable('away');
    const bytes = this.maker.metadata.get(name);
    return accept(bytes === undefined ? undefined : this.onFetch('metadata', capBytes, bytes));
  }

  async fetchTarget(path: string, capBytes: number): Promise<Verdict<Uint8Array>> {
    if (this.away) throw new SourceUnreachable('away');
    const bytes = this.maker.files.get(path);
    if (bytes === undefined) return refuse('target-unknown', path);
    const served = this.onFetch('target', capBytes, bytes);
    return served.length > capBytes ? refuse('input-too-large', path) : accept(served);
  }

  async fetchRange(path: string, offset: number, length: number): Promise<Verdict<Uint8Array>> {
    this.beforeRange(path, offset);
    if (this.away) throw new SourceUnreachable('away');
    const bytes = this.maker.files.get(path);
    if (bytes === undefined) return refuse('target-unknown', path);
    this.ranges.push(`${path}@${offset}`);
    const served = this.onFetch('range', length, bytes.subarray(offset, offset + length));
    // As the port has it: the exact number, or a refusal.
    return served.length === length
      ? accept(served)
      : refuse('image-size-mismatch', `${served.length} bytes of ${path}`);
  }
}
