/**
 * The next version of the signed root: drafted from the newest one that stands, shown to each signer as a difference,
 * signed by the people one after another. Today it changes the owners and how long the root is good; what else differs
 * in a draft that somebody made by other means is shown all the same, never passed over.
 *
 * Invariants: a signature is only made over a root that follows the chain which the signer trusts, for the same
 * environment; the passphrase is asked for once everything else holds.
 */
import { dirname, join } from 'node:path';
import { nodeDisk } from '../platform/disk.ts';
import { writeDurably } from '../platform/durable-file.ts';
import { readInputFile } from '../platform/input-file.ts';
import { equalBytes, hex, unhex, type Verified } from '../trust/bytes.ts';
import { decodeMetadata, encodeMetadata, METADATA_CAP_BYTES, type Root, signedBytes } from '../trust/tuf/metadata.ts';
import { verifyNextRoot } from '../trust/tuf/repository.ts';
import { faultOfRefusal, type RootFile, readRootChain } from './base-metadata.ts';
import { demandOwners } from './escrow-key.ts';
import { type KeyFile, openKey, readKeyFile } from './key-file.ts';
import type { PassphraseSource } from './passphrase.ts';
import { refused } from './refused.ts';
import { type RootChange, rootDifference } from './root-difference.ts';
import { draftNextRoot } from './root-draft.ts';

/**
 * The draft's bytes, not yet signed by anybody. `metadata` is a folder with `1.root.json` and all that follow: a
 * ceremony's `public/`. Fault `escrow-owners-wrong`, or what the chain says.
 */
export async function draftRootFile(
  metadata: string,
  escrowKeys: readonly Uint8Array[],
  nowUnixS: number,
): Promise<{ bytes: Uint8Array; root: Root; changes: readonly RootChange[] }> {
  demandOwners(escrowKeys);
  const { root: current } = await readRootChain(metadata);
  const root = draftNextRoot(current, escrowKeys, nowUnixS);
  return { bytes: encodeMetadata(root, []), root, changes: rootDifference(current, root) };
}

interface SignRootRequest {
  /** The draft; gets the signature. */
  readonly path: string;
  /** Folder of the roots that stand. */
  readonly metadata: string;
  readonly keyPath: string;
  /** A root that the signer trusts; absent: `1.root.json` beside the key. */
  readonly anchorPath?: string;
  readonly passphraseFor: PassphraseSource;
  /** Shown before the passphrase is asked for. */
  readonly onChanges?: (root: Root, changes: readonly RootChange[], key: KeyFile) => void;
}

interface SignRootState {
  readonly root: Root;
  readonly changes: readonly RootChange[];
  readonly keyId: string;
  readonly added: boolean;
  readonly signatures: number;
  /** Of the old root, which is what people wait for; `complete` asks both. */
  readonly threshold: number;
  readonly complete: boolean;
}

async function demandRootAnchor(request: SignRootRequest, roots: readonly RootFile[]): Promise<void> {
  const path = request.anchorPath ?? join(dirname(request.keyPath), '1.root.json');
  const anchor = await readInputFile(path, METADATA_CAP_BYTES.root, 'the root that you trust');
  if (roots.some(({ bytes }) => equalBytes(bytes, anchor))) return;
  throw refused(
    'root-not-trusted',
    'the roots in the folder do not come from the one that you trust',
    path,
    'Do not sign. Take the public folder of your own ceremony, or of your own server.',
  );
}

function readDraft(bytes: Uint8Array, path: string, current: Root) {
  const decoded = decodeMetadata('root', bytes, { canonicalForm: 'required' });
  if (!decoded.ok) throw faultOfRefusal(decoded, path, 'Draft the root again: holdfast keys root draft.');
  const { signed } = decoded.value;
  const { environment, escrowKeys } = signed.holdfast;
  if (signed.version !== current.version + 1) {
    const what = `this is root ${signed.version}, and ${current.version + 1} is due`;
    throw refused('root-chain-broken', what, path, 'Draft it again on the newest root.');
  }
  if (environment !== current.holdfast.environment) {
    const what = `it is for ${environment}, and the fleet is ${current.holdfast.environment}`;
    throw refused('environment-mismatch', what, path, 'Do not sign it: every device would refuse it.');
  }
  demandOwners(escrowKeys.map((text) => unhex(text) ?? new Uint8Array()));
  return decoded.value;
}

/** Faults: `root-not-trusted`, `root-chain-broken`, `environment-mismatch`, `key-not-in-role`, `passphrase-wrong`. */
export async function signRootFile(request: SignRootRequest): Promise<SignRootState> {
  const { root: current, roots } = await readRootChain(request.metadata);
  await demandRootAnchor(request, roots);
  const bytes = await readInputFile(request.path, METADATA_CAP_BYTES.root, 'a drafted root');
  const draft = readDraft(bytes, request.path, current);
  const file = await readKeyFile(request.keyPath);
  const ids = [...current.roles.root.keyids, ...draft.signed.roles.root.keyids];
  if (file.role !== 'root' || !ids.includes(file.keyId)) {
    const cure = 'Sign with the root.key of somebody whom the root names.';
    throw refused('key-not-in-role', 'this is no root key of the old root or the new', request.keyPath, cure);
  }
  const changes = rootDifference(current, draft.signed);
  request.onChanges?.(draft.signed, changes, file);
  const added = draft.signatures.every(({ keyid }) => keyid !== file.keyId);
  const signed = added ? await withSignature(draft.signed, draft.signatures, file, request) : bytes;
  if (added) await writeDurably(nodeDisk, request.path, signed, 0o644);
  const signatures = draft.signatures.length + (added ? 1 : 0);
  const complete = verifyNextRoot(current, signed).ok;
  const { threshold } = current.roles.root;
  return { root: draft.signed, changes, keyId: file.keyId, added, signatures, threshold, complete };
}

async function withSignature(
  root: Root,
  before: readonly { readonly keyid: string; readonly sig: string }[],
  file: KeyFile,
  request: SignRootRequest,
): Promise<Uint8Array> {
  const passphrase = await request.passphraseFor(request.keyPath);
  try {
    const key = await openKey(file, passphrase);
    return encodeMetadata(root, [...before, { keyid: key.keyId, sig: hex(await key.sign(signedBytes(root))) }]);
  } finally {
    passphrase.wipe();
  }
}

/** A draft that enough people signed, as the server is given it. Fault `root-chain-broken` while it is not. */
export async function readSignedRoot(path: string, metadata: string): Promise<{ root: Verified<Root>; text: string }> {
  const { root: current } = await readRootChain(metadata);
  const bytes = await readInputFile(path, METADATA_CAP_BYTES.root, 'a signed root');
  const verdict = verifyNextRoot(current, bytes);
  if (!verdict.ok) throw faultOfRefusal(verdict, path, 'Have it signed: holdfast keys root sign.');
  return { root: verdict.value, text: new TextDecoder().decode(bytes) };
}
