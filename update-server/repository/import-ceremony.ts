/**
 * The first start: what the ceremony made for the server becomes its repository. The root is written last, so that a cut
 * leaves either nothing that counts, or everything.
 */
import { join } from 'node:path';
import type { Disk } from '../../platform/disk.ts';
import { FileTooLarge } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { SEALED_FILE_CAP_BYTES } from '../../platform/sealed-file.ts';
import { METADATA_CAP_BYTES } from '../../trust/tuf/metadata.ts';
import { verifyInitialRoot, verifySigned } from '../../trust/tuf/repository.ts';
import type { MetadataFolder } from './metadata-folder.ts';
import { OnlineKeys } from './online-keys.ts';

export interface ServerCeremony {
  readonly root: Uint8Array;
  readonly targets: Uint8Array;
  readonly sealedOnlineKeys: Uint8Array;
}

/** Reads the ceremony's server folder. Faults: `ceremony-file-missing`, `ceremony-file-refused`. */
export async function readServerCeremony(disk: Disk, directory: string): Promise<ServerCeremony> {
  const read = async (name: string, capBytes: number): Promise<Uint8Array> => {
    const path = join(directory, name);
    const bytes = await disk.readFile(path, capBytes).catch((error: unknown) => {
      if (error instanceof FileTooLarge) throw refused(path, error.message);
      throw error;
    });
    if (bytes !== undefined) return bytes;
    throw new Fault({
      code: 'ceremony-file-missing',
      what: 'the folder of the ceremony lacks a file that the server needs',
      where: path,
      cure: 'Give the folder `server` that `holdfast keys init` made (--keys DIR).',
      exitStatus: EXIT.input,
    });
  };
  return {
    root: await read('1.root.json', METADATA_CAP_BYTES.root),
    targets: await read('1.targets.json', METADATA_CAP_BYTES.targets),
    sealedOnlineKeys: await read('online-keys.sealed', SEALED_FILE_CAP_BYTES),
  };
}

/** Verifies all parts against each other, then stores them. `where` is named in faults. */
export async function importCeremony(
  target: { readonly disk: Disk; readonly metadata: MetadataFolder; readonly sealedKeysPath: string },
  ceremony: ServerCeremony,
  sealingKey: Uint8Array,
  where: string,
): Promise<void> {
  const root = verifyInitialRoot(ceremony.root);
  if (!root.ok) throw refused(join(where, '1.root.json'), `the root was refused (${root.code}: ${root.detail})`);
  const targets = verifySigned(root.value, 'targets', ceremony.targets);
  if (!targets.ok)
    throw refused(join(where, '1.targets.json'), `the targets were refused (${targets.code}: ${targets.detail})`);
  const keysPath = join(where, 'online-keys.sealed');
  const missing = OnlineKeys.open(sealingKey, ceremony.sealedOnlineKeys, keysPath).missingIn(root.value);
  if (missing !== undefined) throw refused(keysPath, `the online keys do not belong to the root: ${missing}`);
  await target.metadata.write(`${targets.value.version}.targets.json`, ceremony.targets);
  await writeDurably(target.disk, target.sealedKeysPath, ceremony.sealedOnlineKeys);
  await target.metadata.write(`${root.value.version}.root.json`, ceremony.root);
}

const refused = (where: string, what: string): Fault =>
  new Fault({
    code: 'ceremony-file-refused',
    what,
    where,
    cure: 'Give the server folder as `holdfast keys init` made it, unchanged.',
    exitStatus: EXIT.input,
  });
