/**
 * The credentials of this device and whose keys they are sealed to, from agent.json and the root that it trusts. Makes
 * nothing; where the root names too few owners, the escrow refuses, and the first boot stays closed.
 */
import { createPrivateKey } from 'node:crypto';
import { nodeDisk } from '../../platform/disk.ts';
import type { AgentConfig } from '../config.ts';
import type { CredentialProvider, Escrow } from '../core/first-boot-ports.ts';
import type { Log } from '../core/ports.ts';
import { readTrustedRoot } from '../trusted-root.ts';
import { OwnerEscrow } from './escrow.ts';
import type { FirstBootConfig } from './first-boot-config.ts';
import { firstBootDirectory } from './first-boot-record.ts';
import { worldOfMachine } from './machine-world.ts';
import { readOwnerKeys } from './owner-keys.ts';
import { DeviceKeyProvider } from './providers/device-key.ts';
import { openProviders } from './providers.ts';
import { EpochFolder } from './staging.ts';
import type { ProviderWorld } from './world.ts';

const LOGIN_KEYS_CAP_BYTES = 64 * 1024;

export interface Wired {
  readonly providers: readonly CredentialProvider[];
  readonly escrow: Escrow;
}

interface Parts {
  readonly config: AgentConfig;
  readonly firstBoot: FirstBootConfig;
  readonly world: ProviderWorld;
  readonly log: Log;
}

export async function wire(config: AgentConfig, firstBoot: FirstBootConfig, log: Log): Promise<Wired> {
  const world = await worldOfMachine(config, firstBoot, await readLoginKeys(firstBoot.loginKeysFile));
  return { providers: openProviders(firstBoot.providers, world), escrow: escrowOf({ config, firstBoot, world, log }) };
}

/** Lines that are no comment; the provider refuses what is no key. */
async function readLoginKeys(path: string | null): Promise<readonly string[]> {
  const bytes = path === null ? undefined : await nodeDisk.readFile(path, LOGIN_KEYS_CAP_BYTES);
  const lines = new TextDecoder().decode(bytes).split('\n');
  return lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'));
}

/** Owners are read when something is sealed: a root that cannot be read keeps the device closed, and says so. */
function escrowOf({ config, firstBoot, world, log }: Parts): Escrow {
  const { escrow, providers } = firstBoot;
  const folder = new EpochFolder(nodeDisk, firstBootDirectory(config.dataDirectory));
  const deviceKey = new DeviceKeyProvider(world, providers.deviceKey);
  return {
    async seal(secrets, binding) {
      const root = await readTrustedRoot(nodeDisk, log, config);
      const ownerKeys = await readOwnerKeys(nodeDisk, root, escrow.ownersFile);
      const sealing = new OwnerEscrow({
        ownerKeys,
        atLeast: escrow.minimumOwners,
        deviceKey: async () => {
          const pem = await deviceKey.stagedKey(folder.staging(binding.epoch, deviceKey.name));
          return pem === undefined ? undefined : createPrivateKey(pem);
        },
      });
      return sealing.seal(secrets, binding);
    },
  };
}
