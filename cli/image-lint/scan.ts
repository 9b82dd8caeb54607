/** The pass over all files: each is read once, and every rule about contents looks at it. */
import type { FindingCode, Report } from './findings.ts';
import { checkBootArguments } from './rules/boot-arguments.ts';
import { checkClaim, isDeviceIdentity, isHostKey } from './rules/identity.ts';
import { checkPrivateKeys } from './rules/private-keys.ts';
import { checkAuthorizedKeys } from './rules/ssh.ts';
import { checkStoredSecrets } from './rules/stored-secrets.ts';
import { checkTokens } from './rules/tokens.ts';
import { type ImageEntry, type TreeView, Unreadable } from './tree.ts';

/** Secrets stand near the beginning; what is larger is a program, a database or a film. */
const FILE_CAP_BYTES = 32 * 1024 * 1024;
/** Of one volume. A hostile one names the same bytes a million times. */
const VOLUME_CAP_BYTES = 64 * 1024 ** 3;

export function scannedBytes(entry: ImageEntry): number {
  return Math.min(entry.sizeBytes, FILE_CAP_BYTES);
}

export async function scanFiles(view: TreeView, report: Report, onProgress: (bytes: number) => void): Promise<void> {
  let doneBytes = 0;
  for (const entry of view.files()) {
    if (doneBytes > VOLUME_CAP_BYTES) {
      report('scan-incomplete', entry.path, 'the files together have more than 64 GiB');
      return;
    }
    scanFile(view, entry, report);
    doneBytes += scannedBytes(entry);
    onProgress(scannedBytes(entry));
  }
}

function scanFile(view: TreeView, entry: ImageEntry, report: Report): void {
  const { path } = entry;
  let bytes: Buffer;
  try {
    const read = view.tree.read(entry, FILE_CAP_BYTES);
    bytes = Buffer.from(read.buffer, read.byteOffset, read.byteLength);
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    report('file-unread', path, error.message);
    return;
  }
  if (entry.sizeBytes > FILE_CAP_BYTES) report('file-cut', path, `it has ${entry.sizeBytes} bytes`);
  if (isHostKey(entry)) report('host-key', path, 'it is an SSH host key');
  if (isDeviceIdentity(entry)) report('identity-baked', path, "it is a device's own");
  // A host key is a private key too; one finding says it.
  if (!isHostKey(entry) && !isDeviceIdentity(entry)) checkPrivateKeys(path, bytes, report);
  checkTokens(path, bytes, notStored(path, bytes, report));
  checkClaim(path, bytes, report);
  checkAuthorizedKeys(entry, bytes, report);
  checkBootArguments(entry, bytes, report);
}

/** Reports stored logins first; a token in such a file is the same finding. */
function notStored(path: string, bytes: Buffer, report: Report): Report {
  let stored = false;
  checkStoredSecrets(path, bytes, (code: FindingCode, ...rest) => {
    stored ||= code === 'stored-login';
    report(code, ...rest);
  });
  return (...finding) => {
    if (!stored) report(...finding);
  };
}
