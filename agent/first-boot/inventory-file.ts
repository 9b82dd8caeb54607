/**
 * The inventory that the first boot takes as it opens, for the agent to tell: names, kinds, states and fingerprints,
 * `<data>/first-boot/inventory`. The agent has no rights to look itself.
 *
 * May not: hold a secret. A damaged or missing file is an empty inventory; the next boot writes it again.
 */
import * as v from 'valibot';
import { type Disk, FileTooLarge } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import { CredentialEntry, MAX_CREDENTIALS } from '../../protocol/credentials.ts';

const FILE_CAP_BYTES = 32 * 1024;
const Inventory = v.pipe(v.array(CredentialEntry), v.maxLength(MAX_CREDENTIALS));

export async function writeInventory(
  disk: Disk,
  directory: string,
  entries: readonly CredentialEntry[],
): Promise<void> {
  const bytes = new TextEncoder().encode(`${JSON.stringify(entries)}\n`);
  const standing = await readBytes(disk, directory);
  if (standing !== undefined && Buffer.compare(standing, bytes) === 0) return;
  await writeDurably(disk, pathIn(directory), bytes);
}

export async function readInventory(disk: Disk, directory: string): Promise<readonly CredentialEntry[]> {
  const bytes = await readBytes(disk, directory);
  try {
    const parsed = v.safeParse(Inventory, JSON.parse(new TextDecoder().decode(bytes)));
    return parsed.success ? parsed.output : [];
  } catch {
    return [];
  }
}

async function readBytes(disk: Disk, directory: string): Promise<Uint8Array | undefined> {
  try {
    return await disk.readFile(pathIn(directory), FILE_CAP_BYTES);
  } catch (error) {
    if (error instanceof FileTooLarge) return undefined;
    throw error;
  }
}

function pathIn(directory: string): string {
  return `${directory}/inventory`;
}
