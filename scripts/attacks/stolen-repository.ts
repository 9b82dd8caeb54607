/**
 * What a thief has who took the server: its metadata files, its artifacts, and its online keys, so that snapshot and
 * timestamp can be signed anew. Whatever is built with this must not be able to put code on a device.
 */
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type SigningKey, softwareKey } from '../../keys/signing-key.ts';
import { signMetadata } from '../../keys/tuf-signing.ts';
import { decodeSealingKey, openSealed } from '../../platform/sealed-file.ts';
import { unhex } from '../../trust/bytes.ts';
import { sha256Hex } from '../../trust/crypto.ts';
import { encodeTufDate } from '../../trust/time.ts';
import { decodeMetadata, type RoleName, type RoleTypes, type Targets } from '../../trust/tuf/metadata.ts';
import { makeSnapshot, makeTimestamp } from '../../trust/tuf/repository.ts';

const ONLINE_KEYS_CONTEXT = 'holdfast online keys 1';
const DAY_S = 24 * 3600;

interface OnlineKeys {
  readonly snapshot: SigningKey;
  readonly timestamp: SigningKey;
}

export interface StolenFiles {
  /** The server's data folder. */
  readonly dataDirectory: string;
  readonly sealingKeyFile: string;
}

function onlineKey(stored: unknown): SigningKey {
  const { publicKey, privateKey } = stored as { publicKey: string; privateKey: string };
  const [secret, open] = [unhex(privateKey), unhex(publicKey)];
  const key =
    secret === undefined || open === undefined
      ? undefined
      : softwareKey('tuf', { algorithm: 'ed25519', secret, publicKey: open });
  if (key === undefined) throw new Error('the stolen online keys are not keys');
  return key;
}

export class StolenRepository {
  readonly #metadata: Map<string, Uint8Array>;
  readonly #artifactDirectory: string;
  /** Bytes served in place of, or beside, the stolen artifacts, by the digest in their address. */
  readonly #substitutes: Map<string, Uint8Array>;
  readonly #keys: OnlineKeys;
  readonly #nowUnixS: number;

  private constructor(
    metadata: Map<string, Uint8Array>,
    artifactDirectory: string,
    substitutes: Map<string, Uint8Array>,
    keys: OnlineKeys,
  ) {
    this.#metadata = metadata;
    this.#artifactDirectory = artifactDirectory;
    this.#substitutes = substitutes;
    this.#keys = keys;
    this.#nowUnixS = Math.floor(Date.now() / 1000);
  }

  static async steal(files: StolenFiles): Promise<StolenRepository> {
    const folder = join(files.dataDirectory, 'metadata');
    const metadata = new Map<string, Uint8Array>();
    for (const name of await readdir(folder)) {
      if (name.endsWith('.json')) metadata.set(name, await readFile(join(folder, name)));
    }
    const sealingKey = decodeSealingKey(await readFile(files.sealingKeyFile));
    const sealed = await readFile(join(files.dataDirectory, 'online-keys.sealed'));
    const opened = JSON.parse(Buffer.from(openSealed(sealingKey, sealed, ONLINE_KEYS_CONTEXT)).toString('utf8'));
    const keys = { snapshot: onlineKey(opened.snapshot), timestamp: onlineKey(opened.timestamp) };
    return new StolenRepository(metadata, join(files.dataDirectory, 'artifacts'), new Map(), keys);
  }

  /** A second repository that can be changed without changing this one. */
  copy(): StolenRepository {
    return new StolenRepository(
      new Map(this.#metadata),
      this.#artifactDirectory,
      new Map(this.#substitutes),
      this.#keys,
    );
  }

  metadata(name: string): Uint8Array | undefined {
    return this.#metadata.get(name);
  }

  /** The newest file of a role, decoded. */
  newest<R extends RoleName>(role: R): RoleTypes[R] {
    const name = role === 'timestamp' ? 'timestamp.json' : `${this.#newestVersion(role)}.${role}.json`;
    const bytes = this.#metadata.get(name);
    const decoded = bytes === undefined ? undefined : decodeMetadata(role, bytes, { canonicalForm: 'required' });
    if (decoded?.ok !== true) throw new Error(`the stolen repository has no ${role}`);
    return decoded.value.signed;
  }

  /** Serves these targets, and signs snapshot and timestamp for them, as the server would. */
  async serveTargets(targets: Targets, file: Uint8Array): Promise<void> {
    this.#metadata.set(`${targets.version}.targets.json`, file);
    const version = this.#nextOnlineVersion();
    const expires = encodeTufDate(this.#nowUnixS + 14 * DAY_S);
    const snapshot = makeSnapshot({ version, expires, targetsVersion: targets.version });
    this.#metadata.set(`${version}.snapshot.json`, await signMetadata(snapshot, [this.#keys.snapshot]));
    await this.serveTimestamp(3 * DAY_S, version);
  }

  /** Signs a timestamp that expires in `lifeS` seconds; negative: that has expired. */
  async serveTimestamp(lifeS: number, snapshotVersion = this.#newestVersion('snapshot')): Promise<void> {
    const version = this.#nextOnlineVersion();
    const expires = encodeTufDate(this.#nowUnixS + lifeS);
    const timestamp = makeTimestamp({ version, expires, snapshotVersion });
    this.#metadata.set('timestamp.json', await signMetadata(timestamp, [this.#keys.timestamp]));
  }

  /** Serves `bytes` under their own digest, and returns it. */
  addArtifact(bytes: Uint8Array): string {
    const digest = sha256Hex(bytes);
    this.#substitutes.set(digest, bytes);
    return digest;
  }

  /** Serves other bytes than the address says. */
  substituteArtifact(sha256: string, bytes: Uint8Array): void {
    this.#substitutes.set(sha256, bytes);
  }

  async readWhole(sha256: string): Promise<Uint8Array> {
    return this.#substitutes.get(sha256) ?? (await readFile(this.#artifactPath(sha256)));
  }

  async artifactSizeBytes(sha256: string): Promise<number | undefined> {
    const substitute = this.#substitutes.get(sha256);
    if (substitute !== undefined) return substitute.length;
    return (await stat(this.#artifactPath(sha256)).catch(() => undefined))?.size;
  }

  /** Bytes from `first` to `last`, both inclusive. */
  readArtifact(sha256: string, first: number, last: number): Readable {
    const substitute = this.#substitutes.get(sha256);
    if (substitute !== undefined) return Readable.from([Buffer.from(substitute.subarray(first, last + 1))]);
    return createReadStream(this.#artifactPath(sha256), { start: first, end: last });
  }

  #artifactPath(sha256: string): string {
    return join(this.#artifactDirectory, sha256.slice(0, 2), sha256);
  }

  #newestVersion(role: Exclude<RoleName, 'timestamp'>): number {
    const pattern = new RegExp(`^(\\d+)\\.${role}\\.json$`);
    return Math.max(...[...this.#metadata.keys()].map((name) => Number(pattern.exec(name)?.[1] ?? 0)));
  }

  #nextOnlineVersion(): number {
    return Math.max(this.newest('timestamp').version, this.newest('snapshot').version, this.#nowUnixS) + 1;
  }
}
