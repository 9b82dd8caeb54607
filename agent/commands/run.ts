/** `run`: the agent itself. Ends with 0 on SIGTERM and when a reboot was asked for. */

import { nodeDisk } from '../../platform/disk.ts';
import { EXIT } from '../../platform/fault.ts';
import type { CommandOptions } from '../command-options.ts';
import { readConfig } from '../config.ts';
import { readClaim } from '../credentials/claim.ts';
import { Device } from '../device.ts';
import { stderrLog } from '../log.ts';
import { RunLoop, workSilenceMs } from '../run-loop.ts';
import { holdDataDirectory } from '../single-instance.ts';
import { AGENT_VERSION } from '../version.ts';
import { Liveness } from '../watchdog/liveness.ts';

export async function runCommand(options: CommandOptions): Promise<number> {
  const config = await readConfig(nodeDisk, options.config);
  const held = holdDataDirectory(config.dataDirectory);
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort());
  const device = await Device.open(config, stderrLog);
  const deviceId =
    device.identity?.deviceId ?? config.deviceId ?? (await readClaim(nodeDisk, config.claimFile)).claimId;
  stderrLog.info('starting', {
    version: AGENT_VERSION,
    deviceId,
    board: config.board.kind,
    server: device.servers.description,
  });
  const liveness = new Liveness(device.clock);
  const onProgress = (): void => liveness.heard('work', workSilenceMs(config));
  const loop = new RunLoop(device, await device.openEngine(deviceId, undefined, onProgress), liveness);
  const end = options.once ? await loop.runOnce(stop.signal) : await loop.run(stop.signal);
  stderrLog.info('ended', { end });
  held.close();
  return EXIT.ok;
}
