/**
 * The first start brings the repository into the data folder, from a ceremony or from a lab's own keys; every start opens
 * the online keys and checks that the folder is used for what it was made for.
 */
import { join } from 'node:path';
import type { Disk } from '../platform/disk.ts';
import { EXIT, Fault } from '../platform/fault.ts';
import { SEALED_FILE_CAP_BYTES } from '../platform/sealed-file.ts';
import { METADATA_CAP_BYTES } from '../trust/tuf/metadata.ts';
import type { ServerConfig } from './config.ts';
import type { ServerClock } from './core/ports.ts';
import type { DataFolder } from './data-folder.ts';
import { type LabKeys, makeLabCeremony, openLabKeys } from './lab/lab-keys.ts';
import { importCeremony, readServerCeremony, type ServerCeremony } from './repository/import-ceremony.ts';
import type { MetadataFolder } from './repository/metadata-folder.ts';
import { OnlineKeys } from './repository/online-keys.ts';

export interface FirstStartPorts {
  readonly disk: Disk;
  readonly clock: ServerClock;
  readonly config: ServerConfig;
  readonly folder: DataFolder;
  readonly metadata: MetadataFolder;
  readonly sealingKey: Uint8Array;
}

/** Imports what is not there yet, then opens the online keys. Faults: `keys-missing`, `data-damaged`, those of the import. */
export async function openOnlineKeys(ports: FirstStartPorts): Promise<OnlineKeys> {
  const { disk, folder, metadata, sealingKey } = ports;
  const sealedKeysPath = folder.path('online-keys.sealed');
  if ((await metadata.read('1.root.json')) === undefined) {
    if ((await metadata.versions('snapshot')).length > 0)
      throw damaged('the first root is missing', metadata.path('1.root.json'));
    const { ceremony, where } = await obtainCeremony(ports);
    await importCeremony({ disk, metadata, sealedKeysPath }, ceremony, sealingKey, where);
  }
  const sealed = await disk.readFile(sealedKeysPath, SEALED_FILE_CAP_BYTES);
  if (sealed === undefined) throw damaged('the online keys are missing', sealedKeysPath);
  return OnlineKeys.open(sealingKey, sealed, sealedKeysPath);
}

async function obtainCeremony(ports: FirstStartPorts): Promise<{ ceremony: ServerCeremony; where: string }> {
  const { disk, config, clock, folder, sealingKey } = ports;
  if (config.lab === null) {
    const where = demandKeys(config, folder);
    return { ceremony: await readServerCeremony(disk, where), where };
  }
  const where = folder.path('lab');
  await disk.makeDirectory(where);
  const nowUnixS = Math.floor(clock.nowUnixMs() / 1000);
  return { ceremony: await makeLabCeremony(disk, labKeysPath(folder), sealingKey, nowUnixS), where };
}

const labKeysPath = (folder: DataFolder): string => join(folder.path('lab'), 'keys.sealed');

/** The lab's signing keys; null when this is no lab. Fault `lab-mismatch` when folder and flag disagree. */
export async function openLab(ports: FirstStartPorts, environment: string): Promise<LabKeys | null> {
  const { config, folder, disk, sealingKey } = ports;
  if ((config.lab !== null) !== (environment === 'lab')) {
    throw new Fault({
      code: 'lab-mismatch',
      what: `this data folder is signed for ${environment}, and the server was started ${config.lab === null ? 'without' : 'with'} --lab`,
      where: folder.directory,
      cure: 'Use the data folder that belongs to this way of starting.',
      exitStatus: EXIT.input,
    });
  }
  return config.lab === null ? null : openLabKeys(disk, labKeysPath(folder), sealingKey);
}

/**
 * Before anything is made: a first start that lacks its keys leaves no folder behind. Fault `keys-missing`.
 * The first root is what an import writes last.
 */
export async function demandBeginnings(disk: Disk, config: ServerConfig): Promise<void> {
  if (config.lab !== null || config.keysDirectory !== undefined) return;
  const root = await disk.readFile(join(config.dataDirectory, 'metadata', '1.root.json'), METADATA_CAP_BYTES.targets);
  if (root === undefined) throw keysMissing(config.dataDirectory);
}

function demandKeys(config: ServerConfig, folder: DataFolder): string {
  if (config.keysDirectory !== undefined) return config.keysDirectory;
  throw keysMissing(folder.directory);
}

const keysMissing = (where: string): Fault =>
  new Fault({
    code: 'keys-missing',
    what: 'this data folder has no repository yet',
    where,
    cure: 'Give the server folder of the ceremony with --keys DIR (holdfast keys init makes it), or start a lab with --lab.',
    exitStatus: EXIT.input,
  });

const damaged = (what: string, where: string): Fault =>
  new Fault({
    code: 'data-damaged',
    what,
    where,
    cure: 'Put the data folder back from a backup.',
    exitStatus: EXIT.corrupt,
  });
