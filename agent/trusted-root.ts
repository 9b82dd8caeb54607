/**
 * The root that this device trusts now: the newest that it verified and kept, else the factory's. Read for what it says
 * of servers; releases are verified against it elsewhere (obtain-release.ts), from the bytes, every time.
 */
import type { Disk } from '../platform/disk.ts';
import { EXIT, Fault } from '../platform/fault.ts';
import { decodeMetadata, type Root } from '../trust/tuf/metadata.ts';
import type { AgentConfig } from './config.ts';
import type { Log } from './core/ports.ts';
import { DiskMetadataStore } from './storage/metadata-store.ts';

/** Throws a Fault when there is none that can be read, or when it is of another environment than this device. */
export async function readTrustedRoot(disk: Disk, log: Log, config: AgentConfig): Promise<Root> {
  const { dataDirectory: stateDirectory, factoryRoot: factoryRootPath, environment } = config;
  const store = await DiskMetadataStore.open({ disk, log, stateDirectory, factoryRootPath });
  // What the store keeps was verified and is checksummed: what cannot be decoded is the factory's file.
  const root = decodeMetadata('root', (await store.read('root')) ?? new Uint8Array(), { canonicalForm: 'required' });
  if (!root.ok) {
    throw new Fault({
      code: 'factory-root-malformed',
      what: `the factory root metadata cannot be read, so nothing can be trusted (${root.code}: ${root.detail})`,
      where: factoryRootPath,
      cure: 'Put the root.json of this fleet there, unchanged; agent.json names the place (factoryRoot).',
      exitStatus: EXIT.corrupt,
    });
  }
  const { holdfast } = root.value.signed;
  if (holdfast.environment === environment) return root.value.signed;
  throw new Fault({
    code: 'environment-mismatch',
    what: `the root is signed for ${holdfast.environment}, and this device is configured for ${environment}`,
    where: `${config.path}, field environment`,
    cure: 'Give the device the root of its own fleet; only a tester changes the environment.',
    exitStatus: EXIT.refused,
  });
}
