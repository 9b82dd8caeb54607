/**
 * The ceremony: makes every key of a fleet and its first signed root, in folders that are handed to different people.
 *
 * Invariants: no folder holds a threshold of an offline role; private halves are encrypted before they touch the disk;
 * folders are 0700, files 0600; the whole ceremony appears at once (it is built beside its place and renamed), so that a
 * power cut or a full disk leaves nothing that looks finished; a ceremony that stands is never overwritten.
 *
 * Made on one machine by one person it is a rehearsal, and says so in the signed root.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { faultOfSystemError } from '../platform/command-line.ts';
import { nodeDisk } from '../platform/disk.ts';
import { writeDurably } from '../platform/durable-file.ts';
import { EXIT, Fault, systemErrorCode } from '../platform/fault.ts';
import { encodeSealingKey, sealBytes } from '../platform/sealed-file.ts';
import { hex, utf8 } from '../trust/bytes.ts';
import { sha256Hex } from '../trust/crypto.ts';
import type { Environment } from '../trust/tuf/metadata.ts';
import { verifyInitialRoot, verifySigned } from '../trust/tuf/repository.ts';
import { type CeremonyRecord, encodeCeremonyRecord } from './ceremony-record.ts';
import { demandOwners } from './escrow-key.ts';
import { type KeyFile, type KeyRole, makeKeyFile, openKey } from './key-file.ts';
import { demandStrength, type PassphraseSource } from './passphrase.ts';
import type { ScryptCost } from './passphrase-cipher.ts';
import { refuseInsideRepository } from './repository-guard.ts';
import { draftRoot, emptyTargets, thresholdsFor } from './root-draft.ts';
import { generateRawKey, type RawPrivateKey, type SignatureAlgorithm, type SigningKey } from './signing-key.ts';
import { signMetadata } from './tuf-signing.ts';

export const ONLINE_KEYS_CONTEXT = 'holdfast online keys 1';
/** In the server's folder. */
export const ONLINE_KEYS_FILE = 'online-keys.sealed';
export const SEALING_KEY_FILE = 'sealing.key';
export const PEOPLE_AT_LEAST = 2;
export const PEOPLE_AT_MOST = 9;

export interface CeremonyRequest {
  /** Made by the ceremony; must not exist, or be empty. */
  readonly directory: string;
  readonly vendor: string;
  /** One author folder each. */
  readonly hardwareClasses: readonly string[];
  readonly people: number;
  readonly passphraseFor: PassphraseSource;
  readonly nowUnixS: number;
  /** Default `rehearsal`: that is what one person on one machine makes. */
  readonly environment?: Environment;
  readonly authorAlgorithm?: SignatureAlgorithm;
  /** Raw X25519 public keys of the owners to whom devices seal their secrets: none, or at least two. */
  readonly escrowKeys?: readonly Uint8Array[];
  /** Tests only: the standard cost when absent. No command line option leads here. */
  readonly cost?: ScryptCost;
  /** Called before each key is made: the first argument counts from 1. */
  readonly onKey?: (number: number, total: number, holder: string) => void;
}

export interface Ceremony {
  readonly directory: string;
  readonly record: CeremonyRecord;
}

interface MadeKey {
  readonly holder: string;
  readonly role: KeyRole;
  readonly file: KeyFile;
  /** Open for the signatures of this ceremony only. */
  readonly key: SigningKey;
}

async function refuseExisting(directory: string): Promise<void> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return;
    throw faultOfSystemError(error, directory) ?? error;
  }
  if (names.length === 0) return;
  throw new Fault({
    code: 'ceremony-exists',
    what: 'the folder is not empty, and a ceremony never overwrites anything',
    where: directory,
    cure: 'Choose another folder with --dir. Keys that are still needed cannot be made again.',
    exitStatus: EXIT.refused,
  });
}

function demandSensible(request: CeremonyRequest): void {
  const wrong = (what: string, where: string, cure: string): Fault =>
    new Fault({ code: 'ceremony-request-wrong', what, where, cure, exitStatus: EXIT.usage });
  if (!Number.isInteger(request.people) || request.people < PEOPLE_AT_LEAST || request.people > PEOPLE_AT_MOST) {
    throw wrong(
      `${request.people} people cannot hold a ceremony`,
      '--people',
      `Give a number from ${PEOPLE_AT_LEAST} to ${PEOPLE_AT_MOST}; with one person alone, one stolen folder would be enough.`,
    );
  }
  const name = /^[a-z0-9][a-z0-9._-]{0,63}$/;
  const classes = request.hardwareClasses;
  if (classes.length === 0 || new Set(classes).size !== classes.length || !classes.every((text) => name.test(text))) {
    throw wrong(
      'hardware classes must be given, each once, in a-z 0-9 . _ - (at most 64 characters)',
      '--class',
      'Write for instance --class acme-cam.',
    );
  }
  if (!name.test(request.vendor)) {
    throw wrong('the vendor must be a name in a-z 0-9 . _ -', '--vendor', 'Write for instance --vendor acme.example.');
  }
  demandOwners(request.escrowKeys ?? []);
}

async function makeKeys(request: CeremonyRequest, staging: string): Promise<MadeKey[]> {
  const people = Array.from({ length: request.people }, (_, index) => `person-${index + 1}`);
  const wanted: { holder: string; role: KeyRole }[] = [
    ...people.flatMap((holder) => [{ holder, role: 'root' } as const, { holder, role: 'targets' } as const]),
    ...request.hardwareClasses.map((name) => ({ holder: `author-${name}`, role: 'author' }) as const),
  ];
  const made: MadeKey[] = [];
  for (const [index, { holder, role }] of wanted.entries()) {
    request.onKey?.(index + 1, wanted.length, holder);
    const passphrase = await request.passphraseFor(holder);
    try {
      demandStrength(passphrase);
      const algorithm = role === 'author' ? (request.authorAlgorithm ?? 'ed25519') : 'ed25519';
      const options = request.cost === undefined ? { algorithm } : { algorithm, cost: request.cost };
      const { content, file } = await makeKeyFile({ role, person: holder }, passphrase, options);
      await writeFiles(join(staging, holder), { [`${role}.key`]: content });
      // Opened from what was written: a key that does not open must not be in a signed root.
      made.push({ holder, role, file, key: await openKey(file, passphrase) });
    } finally {
      passphrase.wipe();
    }
  }
  return made;
}

async function writeFiles(folder: string, files: Readonly<Record<string, Uint8Array>>): Promise<void> {
  await nodeDisk.makeDirectory(folder, 0o700);
  for (const [name, content] of Object.entries(files)) await writeDurably(nodeDisk, join(folder, name), content, 0o600);
}

const publicKeysOf = (made: readonly MadeKey[], role: KeyRole): Uint8Array[] =>
  made.filter((key) => key.role === role).map((key) => key.key.publicKey);

/** The signed first root and targets, checked with trust/'s own verification before anybody sees them. */
async function signFirstMetadata(
  request: CeremonyRequest,
  made: readonly MadeKey[],
  online: Readonly<Record<'snapshot' | 'timestamp', RawPrivateKey>>,
): Promise<{ root: Uint8Array; targets: Uint8Array }> {
  const authors = made.filter(({ role }) => role === 'author');
  const signed = draftRoot({
    environment: request.environment ?? 'rehearsal',
    roleKeys: {
      root: publicKeysOf(made, 'root'),
      targets: publicKeysOf(made, 'targets'),
      snapshot: [online.snapshot.publicKey],
      timestamp: [online.timestamp.publicKey],
    },
    thresholds: thresholdsFor(request.people),
    authors: authors.map(({ key, holder }) => ({
      algorithm: key.algorithm,
      publicKey: key.publicKey,
      hardwareClasses: [holder.slice('author-'.length)],
    })),
    escrowKeys: request.escrowKeys ?? [],
    nowUnixS: request.nowUnixS,
  });
  const keysOf = (role: KeyRole): SigningKey[] => made.filter((key) => key.role === role).map(({ key }) => key);
  const root = await signMetadata(signed, keysOf('root'));
  const targets = await signMetadata(emptyTargets(request.nowUnixS), keysOf('targets'));
  const verified = verifyInitialRoot(root);
  if (!verified.ok) throw new Error(`the ceremony's own root is refused: ${verified.code}: ${verified.detail}`);
  const verifiedTargets = verifySigned(verified.value, 'targets', targets);
  if (!verifiedTargets.ok) throw new Error(`the ceremony's own targets are refused: ${verifiedTargets.detail}`);
  return { root, targets };
}

/** What the server starts from: its two online keys, sealed, and the key that opens them. */
/** The two roles that a server signs, as it takes them: sealed, and the key that opens them. */
export function sealOnlineKeys(online: Readonly<Record<'snapshot' | 'timestamp', RawPrivateKey>>): {
  sealed: Uint8Array;
  sealingKey: Uint8Array;
} {
  const render = (key: RawPrivateKey) => ({ publicKey: hex(key.publicKey), privateKey: hex(key.secret) });
  const plaintext = utf8(JSON.stringify({ snapshot: render(online.snapshot), timestamp: render(online.timestamp) }));
  const sealingKey = randomBytes(32);
  try {
    return { sealed: sealBytes(sealingKey, plaintext, ONLINE_KEYS_CONTEXT), sealingKey: encodeSealingKey(sealingKey) };
  } finally {
    plaintext.fill(0);
    sealingKey.fill(0);
  }
}

function recordOf(
  request: CeremonyRequest,
  made: readonly MadeKey[],
  online: Readonly<Record<'snapshot' | 'timestamp', RawPrivateKey>>,
  root: Uint8Array,
): CeremonyRecord {
  const idOf = (holder: string, role: KeyRole): string =>
    made.find((key) => key.holder === holder && key.role === role)?.file.keyId ?? '';
  const people = [...new Set(made.filter(({ role }) => role !== 'author').map(({ holder }) => holder))];
  return {
    format: 'holdfast-ceremony-1',
    environment: request.environment ?? 'rehearsal',
    createdUnixS: request.nowUnixS,
    vendor: request.vendor,
    thresholds: thresholdsFor(request.people),
    people: people.map((name) => ({ name, rootKeyId: idOf(name, 'root'), targetsKeyId: idOf(name, 'targets') })),
    authors: request.hardwareClasses.map((hardwareClass) => ({
      folder: `author-${hardwareClass}`,
      keyId: idOf(`author-${hardwareClass}`, 'author'),
      hardwareClasses: [hardwareClass],
    })),
    online: { snapshot: hex(online.snapshot.publicKey), timestamp: hex(online.timestamp.publicKey) },
    rootSha256: sha256Hex(root),
  };
}

async function fillStaging(request: CeremonyRequest, staging: string): Promise<CeremonyRecord> {
  const made = await makeKeys(request, staging);
  const online = { snapshot: generateRawKey('ed25519'), timestamp: generateRawKey('ed25519') };
  try {
    const { root, targets } = await signFirstMetadata(request, made, online);
    const { sealed, sealingKey } = sealOnlineKeys(online);
    const metadata = { '1.root.json': root, '1.targets.json': targets };
    const record = recordOf(request, made, online, root);
    // Everyone who signs later needs the root that they trust beside their keys, not one that comes with the release.
    for (const holder of new Set(made.map((key) => key.holder))) {
      await writeFiles(join(staging, holder), { '1.root.json': root });
    }
    await writeFiles(join(staging, 'server'), {
      ...metadata,
      [ONLINE_KEYS_FILE]: sealed,
      [SEALING_KEY_FILE]: sealingKey,
    });
    await writeFiles(join(staging, 'public'), { ...metadata, 'ceremony.json': encodeCeremonyRecord(record) });
    return record;
  } finally {
    online.snapshot.secret.fill(0);
    online.timestamp.secret.fill(0);
  }
}

/**
 * Makes a ceremony. Faults: `ceremony-exists`, `ceremony-inside-repository`, `ceremony-request-wrong`,
 * `escrow-owners-wrong`, `passphrase-too-short`, and what the disk says. On any of them nothing is left behind.
 */
export async function initCeremony(request: CeremonyRequest): Promise<Ceremony> {
  demandSensible(request);
  const directory = resolve(request.directory);
  await refuseInsideRepository(directory, 'ceremony');
  await refuseExisting(directory);
  const parent = dirname(directory);
  const staging = join(parent, `.${basename(directory)}.unfinished-${hex(randomBytes(4))}`);
  try {
    await mkdir(parent, { recursive: true, mode: 0o700 });
    await mkdir(staging, { mode: 0o700 });
    const record = await fillStaging(request, staging);
    await nodeDisk.syncDirectory(staging);
    await rename(staging, directory);
    await nodeDisk.syncDirectory(parent);
    return { directory, record };
  } catch (error) {
    await rm(staging, { recursive: true, force: true });
    throw faultOfSystemError(error) ?? error;
  }
}
