/**
 * Looks at a ceremony folder as a thief would: which keys does each folder hold, and how many of a role's threshold is
 * that? Everything is computed from the signed root and from the files that lie there, nothing from ceremony.json.
 */
import { lstat, readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { faultOfSystemError } from '../platform/command-line.ts';
import { nodeDisk } from '../platform/disk.ts';
import { EXIT, Fault } from '../platform/fault.ts';
import { readInputFile } from '../platform/input-file.ts';
import { SEALED_FILE_CAP_BYTES } from '../platform/sealed-file.ts';
import { METADATA_CAP_BYTES, type Root } from '../trust/tuf/metadata.ts';
import { verifyInitialRoot } from '../trust/tuf/repository.ts';
import { decodeKeyFile, type KeyFile } from './key-file.ts';
import { KEY_FILE_CAP_BYTES } from './passphrase-cipher.ts';

export type ProblemCode =
  | 'folder-holds-threshold'
  | 'key-not-in-root'
  | 'offline-key-on-server'
  | 'secret-in-public'
  | 'permissions-too-open'
  | 'key-file-damaged'
  | 'key-missing';

export interface Problem {
  readonly code: ProblemCode;
  readonly what: string;
  /** Relative to the ceremony. */
  readonly where: string;
}

export interface HeldKey {
  /** Relative to the ceremony. */
  readonly path: string;
  readonly folder: string;
  readonly file: KeyFile;
}

export interface CeremonyInspection {
  readonly root: Root;
  readonly keys: readonly HeldKey[];
  readonly problems: readonly Problem[];
}

interface FoundFile {
  readonly path: string;
  readonly folder: string;
  readonly mode: number;
}

async function walk(directory: string, at: string, found: FoundFile[], problems: Problem[]): Promise<void> {
  const entries = await readdir(at, { withFileTypes: true }).catch((error: unknown) => {
    throw faultOfSystemError(error, at) ?? error;
  });
  for (const entry of entries) {
    const path = join(at, entry.name);
    const mode = (await lstat(path)).mode & 0o777;
    const where = relative(directory, path);
    if (entry.isDirectory()) {
      if ((mode & 0o077) !== 0) problems.push(tooOpen(where, mode, 0o700));
      await walk(directory, path, found, problems);
    } else {
      found.push({ path: where, folder: where.includes('/') ? where.slice(0, where.indexOf('/')) : '.', mode });
    }
  }
}

function tooOpen(where: string, mode: number, wanted: number): Problem {
  const octal = (value: number): string => value.toString(8).padStart(4, '0');
  return {
    code: 'permissions-too-open',
    what: `permissions are ${octal(mode)}, and should be ${octal(wanted)}`,
    where,
  };
}

/** How a file gives itself away, whatever its name is. */
async function secretKind(path: string): Promise<'key-file' | 'escrow-key' | 'sealed' | 'sealing-key' | undefined> {
  const size = (await lstat(path)).size;
  if (size > Math.max(KEY_FILE_CAP_BYTES, SEALED_FILE_CAP_BYTES)) return undefined;
  const content = Buffer.from((await nodeDisk.readFile(path, SEALED_FILE_CAP_BYTES)) ?? new Uint8Array()).toString(
    'latin1',
  );
  if (content.includes('"holdfast-key-')) return 'key-file';
  if (content.includes('"holdfast-escrow-key-')) return 'escrow-key';
  if (content.startsWith('HFSEAL')) return 'sealed';
  return /^[0-9a-f]{64}\s*$/.test(content) ? 'sealing-key' : undefined;
}

function namesKey(root: Root, file: KeyFile): boolean {
  if (file.role === 'author') return root.holdfast.authors.some((author) => author.keyId === file.keyId);
  return root.roles[file.role].keyids.includes(file.keyId);
}

function problemsOfThresholds(root: Root, keys: readonly HeldKey[]): Problem[] {
  const problems: Problem[] = [];
  for (const folder of new Set(keys.map((key) => key.folder))) {
    // A key counts for every role that the root gives it, whatever its file says that it is for.
    const ids = new Set(keys.filter((key) => key.folder === folder).map((key) => key.file.keyId));
    for (const role of ['root', 'targets'] as const) {
      const { keyids, threshold } = root.roles[role];
      const held = keyids.filter((id) => ids.has(id)).length;
      if (held >= threshold) {
        problems.push({
          code: 'folder-holds-threshold',
          what: `holds ${held} ${role} keys, and ${threshold} are enough to sign`,
          where: folder,
        });
      }
    }
  }
  return problems;
}

function problemsOfAbsence(root: Root, keys: readonly HeldKey[]): Problem[] {
  const present = new Set(keys.map((key) => key.file.keyId));
  const problems: Problem[] = [];
  for (const role of ['root', 'targets'] as const) {
    const held = root.roles[role].keyids.filter((id) => present.has(id)).length;
    if (held > 0 && held < root.roles[role].keyids.length) {
      problems.push({
        code: 'key-missing',
        what: `${root.roles[role].keyids.length - held} ${role} key(s) of the root are not here`,
        where: '.',
      });
    }
  }
  return problems;
}

async function readRoot(directory: string): Promise<Root> {
  const path = join(directory, 'public', '1.root.json');
  const verdict = verifyInitialRoot(await readInputFile(path, METADATA_CAP_BYTES.root, 'a signed root'));
  if (verdict.ok) return verdict.value;
  throw new Fault({
    code: verdict.code,
    what: `the root does not verify: ${verdict.detail}`,
    where: path,
    cure: 'Restore the ceremony from its backup; never use this root.',
    exitStatus: EXIT.refused,
  });
}

/** Faults: what the disk says, and the refusal code of a root that does not verify. Everything else is a problem in the list. */
export async function inspectCeremony(directory: string): Promise<CeremonyInspection> {
  const root = await readRoot(directory);
  const problems: Problem[] = [];
  const found: FoundFile[] = [];
  await walk(directory, directory, found, problems);
  const keys: HeldKey[] = [];
  for (const { path, folder, mode } of found) {
    if ((mode & 0o077) !== 0) problems.push(tooOpen(path, mode, 0o600));
    const kind = await secretKind(join(directory, path));
    if (kind === undefined) continue;
    if (folder === 'public')
      problems.push({ code: 'secret-in-public', what: `a secret (${kind}) lies in the public folder`, where: path });
    if (folder === 'server' && (kind === 'key-file' || kind === 'escrow-key'))
      problems.push({ code: 'offline-key-on-server', what: 'an offline key lies in the server folder', where: path });
    if (kind !== 'key-file') continue;
    try {
      const file = decodeKeyFile(
        (await nodeDisk.readFile(join(directory, path), KEY_FILE_CAP_BYTES)) ?? new Uint8Array(),
      );
      keys.push({ path, folder, file });
      if (!namesKey(root, file))
        problems.push({ code: 'key-not-in-root', what: `the root does not name this ${file.role} key`, where: path });
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      problems.push({ code: 'key-file-damaged', what: error.what, where: path });
    }
  }
  problems.push(...problemsOfThresholds(root, keys), ...problemsOfAbsence(root, keys));
  return { root, keys, problems };
}
