/**
 * `release sign`: an author signs the manifest, then people sign the targets, in that order, each over what this
 * machine derived from the plan and the images itself. The passphrase is asked for only once everything else holds.
 */
import { dirname, join } from 'node:path';
import { nodeDisk } from '../platform/disk.ts';
import { writeDurably } from '../platform/durable-file.ts';
import { readInputFile } from '../platform/input-file.ts';
import { encodeMetadata, METADATA_CAP_BYTES } from '../trust/tuf/metadata.ts';
import { verifySigned } from '../trust/tuf/repository.ts';
import { demandAnchor, faultOfRefusal } from './base-metadata.ts';
import { type KeyFile, openKey, readKeyFile } from './key-file.ts';
import type { PassphraseSource } from './passphrase.ts';
import { refused } from './refused.ts';
import { signEnvelope } from './release-content.ts';
import {
  checkImages,
  demandAcceptable,
  expectedTargetsOf,
  type OnImage,
  openReleaseFolder,
  type ReleaseFolder,
} from './release-folder.ts';
import type { ReleasePlan } from './release-plan.ts';
import type { SigningKey } from './signing-key.ts';
import { addSignature } from './tuf-signing.ts';

export interface SignRequest {
  readonly folder: string;
  readonly keyPath: string;
  /** The root that the signer trusts; absent: `1.root.json` beside the key, or in `../public`. */
  readonly rootPath?: string;
  readonly passphraseFor: PassphraseSource;
  /** Shown before the passphrase is asked for: what is about to be signed. */
  readonly onPlan?: (plan: ReleasePlan, key: KeyFile) => void;
  readonly onImage?: OnImage;
}

export interface SignatureState {
  readonly plan: ReleasePlan;
  readonly role: 'author' | 'targets';
  readonly keyId: string;
  /** False when this key had signed before; nothing was changed. */
  readonly added: boolean;
  /** Folders or names of nobody: just counts, as the root knows keys and not people. */
  readonly signatures: number;
  readonly threshold: number;
  readonly complete: boolean;
}

async function readAnchor(request: SignRequest): Promise<{ path: string; bytes: Uint8Array }> {
  const beside = dirname(request.keyPath);
  const places =
    request.rootPath === undefined
      ? [join(beside, '1.root.json'), join(beside, '..', 'public', '1.root.json')]
      : [request.rootPath];
  for (const path of places) {
    const bytes = await nodeDisk.readFile(path, METADATA_CAP_BYTES.root);
    if (bytes !== undefined) return { path, bytes };
  }
  if (request.rootPath !== undefined) await readInputFile(request.rootPath, METADATA_CAP_BYTES.root, 'a signed root');
  throw refused(
    'root-missing',
    'there is no 1.root.json beside the key to judge the release by',
    beside,
    'Name the root that you trust: --root CEREMONY/public/1.root.json.',
  );
}

function demandAuthor(release: ReleaseFolder, key: KeyFile, keyPath: string): void {
  const author = release.base.root.holdfast.authors.find((candidate) => candidate.keyId === key.keyId);
  if (author === undefined)
    throw refused(
      'author-unknown',
      'the root does not name this key as an author',
      keyPath,
      'Sign with an author key of this ceremony.',
    );
  const { hardwareClass } = release.plan;
  if (!author.hardwareClasses.includes(hardwareClass) && author.hardwareClasses[0] !== '*') {
    throw refused(
      'author-out-of-scope',
      `this author may sign for ${author.hardwareClasses.join(', ')}, not for ${hardwareClass}`,
      keyPath,
      `Sign with author-${hardwareClass}/author.key.`,
    );
  }
}

async function signAsAuthor(release: ReleaseFolder, key: SigningKey): Promise<boolean> {
  const { folder, plan, content, base, manifest } = release;
  const envelope = release.envelope ?? (await signEnvelope(manifest, key));
  const targets = expectedTargetsOf(plan, content, base, envelope);
  await demandAcceptable(release, targets, envelope);
  // A power cut between the two leaves an envelope without a draft, and the author signs again: the draft is derived.
  if (release.envelope === undefined) await writeDurably(nodeDisk, join(folder, 'release.suit'), envelope, 0o644);
  await writeDurably(nodeDisk, join(folder, 'targets.json'), encodeMetadata(targets, []), 0o644);
  return release.envelope === undefined;
}

async function signAsTargets(release: ReleaseFolder, key: SigningKey): Promise<boolean> {
  const { folder, base, expectedTargets } = release;
  if (expectedTargets === undefined) throw new Error('signing targets before the author is refused earlier');
  const path = join(folder, 'targets.json');
  // A crash between the author's two files leaves no draft; it is derived, so it is simply made again.
  const draft = release.targetsFile ?? encodeMetadata(expectedTargets, []);
  const { file, added } = await addSignature(draft, expectedTargets, key, path);
  const threshold = base.root.roles.targets.threshold;
  if (release.targetsSigners.length + (added ? 1 : 0) >= threshold) {
    const verdict = verifySigned(base.root, 'targets', file);
    if (!verdict.ok)
      throw faultOfRefusal(verdict, path, 'Remove targets.json and sign again; one of the signatures in it is bad.');
  }
  if (added || release.targetsFile === undefined) await writeDurably(nodeDisk, path, file, 0o644);
  return added;
}

function demandTargetsKey(release: ReleaseFolder, key: KeyFile, keyPath: string): void {
  if (release.envelope === undefined) {
    const { hardwareClass } = release.plan;
    throw refused(
      'signature-order-wrong',
      'the author has not signed yet, and people sign what an author signed',
      release.folder,
      `Sign first with the author key: holdfast release sign ${release.folder} --key author-${hardwareClass}/author.key`,
    );
  }
  if (!release.base.root.roles.targets.keyids.includes(key.keyId)) {
    throw refused(
      'key-not-in-role',
      'the root does not name this key for targets',
      keyPath,
      'Sign with a targets key of this ceremony.',
    );
  }
}

function demandRole(key: KeyFile, keyPath: string): 'author' | 'targets' {
  if (key.role !== 'root') return key.role;
  throw refused(
    'key-role-wrong',
    'this is a root key, and releases are signed with author and targets keys',
    keyPath,
    'Use author.key first, then the targets.key of enough people.',
  );
}

/** Signs with one key. Faults: the table in docs/KEYS.md, section "What signing refuses". */
export async function signRelease(request: SignRequest): Promise<SignatureState> {
  const keyFile = await readKeyFile(request.keyPath);
  const role = demandRole(keyFile, request.keyPath);
  const release = await openReleaseFolder(request.folder);
  const anchor = await readAnchor(request);
  demandAnchor(release.base, anchor.bytes, anchor.path);
  if (role === 'author') demandAuthor(release, keyFile, request.keyPath);
  else demandTargetsKey(release, keyFile, request.keyPath);
  await checkImages(release, request.onImage);
  request.onPlan?.(release.plan, keyFile);
  const done = role === 'author' ? release.envelope !== undefined : release.targetsSigners.includes(keyFile.keyId);
  // Nothing to add: nobody is asked for a passphrase in vain.
  if (done && release.targetsFile !== undefined) return stateOf(release, keyFile, role, false);
  const passphrase = await request.passphraseFor(request.keyPath);
  let key: SigningKey;
  try {
    key = await openKey(keyFile, passphrase);
  } finally {
    passphrase.wipe();
  }
  const added = role === 'author' ? await signAsAuthor(release, key) : await signAsTargets(release, key);
  return stateOf(release, keyFile, role, added);
}

function stateOf(release: ReleaseFolder, key: KeyFile, role: 'author' | 'targets', added: boolean): SignatureState {
  const { threshold } = release.base.root.roles.targets;
  const signatures = release.targetsSigners.length + (role === 'targets' && added ? 1 : 0);
  return {
    plan: release.plan,
    role,
    keyId: key.keyId,
    added,
    signatures,
    threshold,
    complete: signatures >= threshold,
  };
}
