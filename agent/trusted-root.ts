/**
 * The root that this device trusts now: the newest that it verified and kept, else the factory's. Read for what it says
 * of servers; releases are verified against it elsewhere (obtain-release.ts), from the bytes, every time.
 */
import type { Disk } from '../platform/disk.ts';
import { EXIT, Fault } from '../platform/fault.ts';
import { decodeMetadata, METADATA_CAP_BYTES, type Root } from '../trust/tuf/metadata.ts';
import type { AgentConfig } from './config.ts';
import type { Log } from './core/ports.ts';
import { DiskMetadataStore } from './storage/metadata-store.ts';

/** Throws a Fault when there is none that can be read, or when it is of another environment than this device. */
export async function readTrustedRoot(disk: Disk, log: Log, config: AgentConfig): Promise<Root> {
  const { dataDirectory: stateDirectory, factoryRoot: factoryRootPath } = config;
  const store = DiskMetadataStore.reading({ disk, log, stateDirectory, factoryRootPath });
  // What the store keeps was verified and is checksummed: what cannot be decoded is the factory's file.
  return rootOfDevice((await store.read('root')) ?? new Uint8Array(), config);
}

/** The same of the factory's file alone; makes no folder. */
export async function readFactoryRoot(disk: Disk, config: AgentConfig): Promise<Root> {
  return rootOfDevice((await disk.readFile(config.factoryRoot, METADATA_CAP_BYTES.root)) ?? new Uint8Array(), config);
}

function rootOfDevice(bytes: Uint8Array, { path, environment, factoryRoot }: AgentConfig): Root {
  const root = decodeMetadata('root', bytes, { canonicalForm: 'required' });
  if (!root.ok) {
    throw new Fault({
      code: 'factory-root-malformed',
      what: `the factory root metadata cannot be read, so nothing can be trusted (${root.code}: ${root.detail})`,
      where: factoryRoot,
      cure: 'Put the root.json of this fleet there, unchanged; agent.json names the place (factoryRoot).',
      exitStatus: EXIT.corrupt,
    });
  }
  const { holdfast } = root.value.signed;
  if (holdfast.environment === environment) return root.value.signed;
  throw new Fault({
    code: 'environment-mismatch',
    what: `the root is signed for ${holdfast.environment}, and this device is configured for ${environment}`,
    where: `${path}, field environment`,
    cure: 'Give the device the root of its own fleet; only a tester changes the environment.',
    exitStatus: EXIT.refused,
  });
}
