/** Takes the device's key and certificate away, durably: this data was made on another board, and that one goes on. */
import { dirname } from 'node:path';
import type { Disk } from '../../platform/disk.ts';
import { makeDirectoryDurably, removeDurably } from '../../platform/durable-file.ts';
import { identityPaths } from '../credentials/identity.ts';

/** The certificate first: one without its key is of no use to anybody. */
export async function retireIdentity(disk: Disk, dataDirectory: string): Promise<void> {
  const { certificate, key, madeHere } = identityPaths(dataDirectory);
  await makeDirectoryDurably(disk, dirname(key));
  await removeDurably(disk, certificate);
  await removeDurably(disk, key);
  await removeDurably(disk, madeHere);
}
