/** The first boot of this machine, opened from agent.json: board, hardware, providers, escrow, identity. */
import { nodeDisk } from '../../platform/disk.ts';
import { makeDirectoryDurably } from '../../platform/durable-file.ts';
import { openBoard } from '../boards/open-board.ts';
import type { AgentConfig } from '../config.ts';
import type { Board, Log } from '../core/ports.ts';
import { readClaim } from '../credentials/claim.ts';
import { releaseIn } from '../storage/counters.ts';
import { eraseFile } from './erase-file.ts';
import { FirstBoot } from './first-boot.ts';
import { firstBootConfigOf } from './first-boot-config.ts';
import { firstBootDirectory } from './first-boot-record.ts';
import { readHardware } from './read-hardware.ts';
import { retireIdentity } from './retire-identity.ts';
import { kernelSecrets } from './secret-source.ts';
import { wipeFolder } from './wipe-folder.ts';
import { wire } from './wiring.ts';

export interface OpenedFirstBoot {
  readonly firstBoot: FirstBoot;
  readonly board: Board;
}

/** Makes the data folder if it is not there. Throws Faults about the files of this device. */
export async function openFirstBoot(config: AgentConfig, log: Log): Promise<OpenedFirstBoot> {
  const firstBoot = firstBootConfigOf(config);
  const { dataDirectory } = config;
  const directory = firstBootDirectory(dataDirectory);
  await makeDirectoryDurably(nodeDisk, dataDirectory);
  const board = openBoard(config.board, nodeDisk);
  const boot = await board.bootFacts();
  const ports = {
    disk: nodeDisk,
    ...(await wire(config, firstBoot, log)),
    random: kernelSecrets(),
    hardware: () => readHardware(nodeDisk, firstBoot.hardware),
    boot,
    // Known at the first boot too: the second one need not try every former password again.
    release: await releaseIn(nodeDisk, dataDirectory, boot.slot, config.factoryInstalled),
    retireIdentity: () => retireIdentity(nodeDisk, dataDirectory),
    wipeApplicationData: async () => {
      for (const folder of firstBoot.applicationData) await wipeFolder(folder);
    },
    eraseFile,
    log,
  };
  const requests = { own: `${directory}/request`, reset: firstBoot.resetRequest };
  const deviceId = async () => config.deviceId ?? (await readClaim(nodeDisk, config.claimFile)).claimId;
  return { firstBoot: new FirstBoot(ports, { directory, deviceId, requests }), board };
}
