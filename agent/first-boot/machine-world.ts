/** The world of this machine's providers, as agent.json describes it. */
import { join } from 'node:path';
import { nodeDisk } from '../../platform/disk.ts';
import { openBoard } from '../boards/open-board.ts';
import type { AgentConfig } from '../config.ts';
import { systemClock } from '../system-clock.ts';
import type { FirstBootConfig } from './first-boot-config.ts';
import { openWorld, type ProviderWorld } from './world.ts';

/** In memory: gone with the power. */
const SCRATCH = '/run/holdfast-firstboot';

/** An emulated device's root is the folder that its boot loop made: never the machine that it is emulated on. */
function rootOf({ board }: AgentConfig): string {
  if (board.kind !== 'emulated') return '/';
  return join(process.env.HOLDFAST_RUN ?? join(board.directory, 'run'), 'rootfs');
}

/** `ownerKeys`: the owner's lines for authorized_keys; none for whoever touches no authorized_keys. */
export function worldOfMachine(
  config: AgentConfig,
  { providers }: Pick<FirstBootConfig, 'providers'>,
  ownerKeys: readonly string[],
): ProviderWorld {
  const { dataDirectory } = config;
  const time = systemClock(config.clock);
  const nowUnixMs = (): number | null => time.wallUnixMs() ?? null;
  const root = rootOf(config);
  const scratchDirectory = root === '/' ? SCRATCH : join(dataDirectory, 'scratch');
  // As the board tells it: an emulated device boots while the machine below it does not, and each boot brings its slot anew.
  const bootId = async (): Promise<string> => (await openBoard(config.board, nodeDisk).bootFacts()).bootId;
  const way = root === '/' ? providers.files : 'bound';
  return openWorld({ root, dataDirectory, way, scratchDirectory, ownerKeys, nowUnixMs, bootId });
}
