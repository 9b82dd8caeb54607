/**
 * Whose keys secrets are sealed to. They come from the signed root that this device trusts (member `escrowKeys`), and
 * while that names none, from a file of the factory's image. From nowhere else: whoever could name an owner key over the
 * network would read every secret of the next epoch.
 *
 * The file: one key a line, 64 hexadecimal digits, as `holdfast escrow key new` prints it; `#` begins a comment.
 */
import { type Disk, FileTooLarge } from '../../platform/disk.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { ESCROW_MAX_OWNERS } from '../../protocol/escrow.ts';
import { unhex } from '../../trust/bytes.ts';
import type { Root } from '../../trust/tuf/metadata.ts';
import { isX25519PublicKey } from '../../trust/x25519.ts';

const OWNER_KEYS_CAP_BYTES = 16 * 1024;

/** Of the root that `readTrustedRoot` gave: its keys were checked when it was decoded. */
export function ownerKeysOfRoot(root: Pick<Root, 'holdfast'>): Uint8Array[] {
  return root.holdfast.escrowKeys.map((text) => unhex(text) ?? new Uint8Array());
}

/**
 * The owners of this device: the root's, or the factory file's where the root names none. Empty when neither does: the
 * escrow then refuses. Throws a Fault for a file that cannot be read as what it should be.
 */
export async function readOwnerKeys(
  disk: Disk,
  root: Pick<Root, 'holdfast'>,
  factoryFile: string | null,
): Promise<readonly Uint8Array[]> {
  const signed = ownerKeysOfRoot(root);
  if (signed.length > 0 || factoryFile === null) return signed;
  try {
    const bytes = await disk.readFile(factoryFile, OWNER_KEYS_CAP_BYTES);
    return bytes === undefined ? [] : decodeOwnerKeys(bytes, factoryFile);
  } catch (error) {
    if (error instanceof FileTooLarge) throw malformed(factoryFile, `more than ${error.capBytes} bytes`);
    throw error;
  }
}

function decodeOwnerKeys(bytes: Uint8Array, path: string): Uint8Array[] {
  const keys: Uint8Array[] = [];
  const lines = Buffer.from(bytes).toString('latin1').split('\n');
  for (const [index, line] of lines.entries()) {
    const text = line.replace(/#.*/, '').trim();
    if (text === '') continue;
    const key = unhex(text);
    if (key === undefined || !isX25519PublicKey(key)) throw malformed(path, `line ${index + 1} is no X25519 key`);
    keys.push(key);
  }
  if (keys.length > ESCROW_MAX_OWNERS) throw malformed(path, `${keys.length} keys, at most ${ESCROW_MAX_OWNERS}`);
  if (new Set(keys.map(String)).size !== keys.length) throw malformed(path, 'a key stands there twice');
  return keys;
}

function malformed(path: string, what: string): Fault {
  return new Fault({
    code: 'owner-keys-malformed',
    what: `the owner keys of the image cannot be read (${what})`,
    where: path,
    cure: 'Write one public key a line, as `holdfast escrow key show FILE` prints it; at least two owners.',
    exitStatus: EXIT.corrupt,
  });
}
