/** The world of this machine's providers, as agent.json describes it. */
import { join } from 'node:path';
import { nodeDisk } from '../../platform/disk.ts';
import { openBoard } from '../boards/open-board.ts';
import type { AgentConfig } from '../config.ts';
import { systemClock } from '../system-clock.ts';
import type { FirstBootConfig } from './first-boot-config.ts';
import { openOwnRoot } from './own-root.ts';
import { openWorld, type ProviderWorld } from './world.ts';

/** In memory: gone with the power. */
const SCRATCH = '/run/holdfast-firstboot';

/**
 * `ownerKeys`: the owner's lines for authorized_keys; none for whoever touches no authorized_keys. A Fault where an emulated
 * device has no root of its own, or a path leads out of it.
 */
export async function worldOfMachine(
  config: AgentConfig,
  firstBoot: FirstBootConfig,
  ownerKeys: readonly string[],
): Promise<ProviderWorld> {
  const { board, dataDirectory } = config;
  const time = systemClock(config.clock);
  const nowUnixMs = (): number | null => time.wallUnixMs() ?? null;
  // As the board tells it: an emulated device boots while the machine below it does not, and each boot brings its slot anew.
  const bootId = async (): Promise<string> => (await openBoard(board, nodeDisk).bootFacts()).bootId;
  const facts = { dataDirectory, ownerKeys, nowUnixMs, bootId };
  if (board.kind !== 'emulated') {
    return openWorld({ ...facts, root: '/', way: firstBoot.providers.files, scratchDirectory: SCRATCH });
  }
  const own = await openOwnRoot(board.directory, { dataDirectory, ...firstBoot });
  return openWorld({ ...facts, ...own, way: 'bound', scratchDirectory: join(dataDirectory, 'scratch') });
}
