/**
 * Artifacts of the server as files here. Every file is checked against the signed metadata before it has its name; what
 * is there already and right is not fetched again.
 */
import { dirname } from 'node:path';
import { faultOfSystemError } from '../platform/command-line.ts';
import { type DiskFile, nodeDisk } from '../platform/disk.ts';
import { EXIT, Fault, systemErrorCode } from '../platform/fault.ts';
import { ARTIFACT_PIECE_CAP_BYTES } from '../protocol/operator-api.ts';
import { hex } from '../trust/bytes.ts';
import { Sha256 } from '../trust/crypto.ts';
import type { ApiClient } from './api-client.ts';
import type { Output } from './output.ts';

export interface ArtifactFile {
  /** For people. */
  readonly label: string;
  /** Where it goes; the folder is made. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Hex. */
  readonly sha256: string;
}

/** Bytes that were fetched: none when the file stands there already, whole. Fault `artifact-digest-mismatch`. */
export async function fetchArtifact(
  out: Output,
  api: Pick<ApiClient, 'artifactPiece'>,
  { label, path, sizeBytes, sha256 }: ArtifactFile,
): Promise<number> {
  const begun = `${path}.part`;
  const progress = out.progress(`Fetching ${label}`, sizeBytes);
  try {
    if ((await digestOf(path, sizeBytes)) === sha256) return 0;
    await nodeDisk.makeDirectory(dirname(path), 0o755);
    const file = await nodeDisk.open(begun, 'create', 0o644);
    try {
      await fetchInto(api, file, sha256, sizeBytes, (done) => progress.update(done));
      await file.sync();
    } finally {
      await file.close();
    }
    await nodeDisk.rename(begun, path);
    return sizeBytes;
  } catch (error) {
    await nodeDisk.remove(begun).catch(() => undefined);
    throw faultOnDisk(error, path);
  } finally {
    progress.finish();
  }
}

async function fetchInto(
  api: Pick<ApiClient, 'artifactPiece'>,
  file: DiskFile,
  sha256: string,
  sizeBytes: number,
  onProgress: (doneBytes: number) => void,
): Promise<void> {
  const hash = new Sha256();
  for (let at = 0; at < sizeBytes; ) {
    const piece = await api.artifactPiece(sha256, at, Math.min(at + ARTIFACT_PIECE_CAP_BYTES, sizeBytes) - 1);
    if (piece.length === 0) break;
    await file.write(piece, at);
    hash.update(piece);
    at += piece.length;
    onProgress(at);
  }
  if (hex(hash.digest()) === sha256) return;
  throw new Fault({
    code: 'artifact-digest-mismatch',
    what: 'the server gave other bytes than the signed metadata name',
    where: sha256,
    cure: 'Look at the disk of the server; publish the release again from its folder.',
    exitStatus: EXIT.refused,
  });
}

async function digestOf(path: string, sizeBytes: number): Promise<string | undefined> {
  let file: DiskFile;
  try {
    file = await nodeDisk.open(path, 'read');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    if ((await file.sizeBytes()) !== sizeBytes) return undefined;
    const hash = new Sha256();
    const buffer = new Uint8Array(1024 ** 2);
    for (let at = 0; at < sizeBytes; at += buffer.length) {
      hash.update(buffer.subarray(0, await file.readInto(buffer, at)));
    }
    return hex(hash.digest());
  } finally {
    await file.close();
  }
}

/** What the disk says, for a person; also where it is a stick. */
export function faultOnDisk(error: unknown, path: string): unknown {
  if (systemErrorCode(error) !== 'EFBIG') return faultOfSystemError(error, path) ?? error;
  return new Fault({
    code: 'file-too-large',
    what: 'the file system there takes no file of this size (FAT: less than 4 GiB)',
    where: path,
    cure: 'Format the stick with exFAT or ext4.',
    exitStatus: EXIT.environment,
    cause: error,
  });
}
