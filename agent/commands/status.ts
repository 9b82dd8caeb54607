/** `status`: what the running agent last said of itself, and what the files of the device say without it. */
import { nodeDisk } from '../../platform/disk.ts';
import { EXIT } from '../../platform/fault.ts';
import type { CommandOptions } from '../command-options.ts';
import { type AgentConfig, readConfig } from '../config.ts';
import { identityPaths, readIdentity } from '../credentials/identity.ts';
import { isHeld } from '../single-instance.ts';
import { type AgentStatus, readStatusFile } from '../status-file.ts';

export async function statusCommand(options: CommandOptions): Promise<number> {
  const config = await readConfig(nodeDisk, options.config);
  const identity = await readIdentity(nodeDisk, identityPaths(config.dataDirectory));
  const status = await readStatusFile(nodeDisk, config.dataDirectory);
  const running = isHeld(config.dataDirectory);
  if (options.json) {
    const facts = {
      ok: true,
      running,
      enrolled: identity !== undefined,
      deviceId: identity?.deviceId ?? config.deviceId ?? null,
      status: status ?? null,
    };
    process.stdout.write(`${JSON.stringify(facts)}\n`);
  } else {
    process.stdout.write(`${describe(config, status, running, identity?.deviceId).join('\n')}\n`);
  }
  return EXIT.ok;
}

function describe(
  config: AgentConfig,
  status: AgentStatus | undefined,
  running: boolean,
  deviceId: string | undefined,
): string[] {
  const lines = [
    `device    ${deviceId ?? config.deviceId ?? '(not enrolled)'} · ${config.hardwareClass} · channel ${config.channel}`,
    `agent     ${running ? 'running' : 'not running'}${config.environment === 'production' ? '' : ` · ${config.environment}: not for production`}`,
  ];
  if (status === undefined) return [...lines, 'state     unknown: no agent has run here yet'];
  const { installed, state, bootedSlot, floorSequence, progress, quarantined } = status;
  lines.push(
    `runs      ${installed.version} (sequence ${installed.sequence}) in slot ${bootedSlot ?? '-'} · floor ${floorSequence}`,
  );
  lines.push(
    `state     ${state}${status.actionId === null ? '' : ` · action ${status.actionId}`}${status.heldWhy === '' ? '' : ` · ${status.heldWhy}`}`,
  );
  if (status.waiting !== null) lines.push(`waits     ${status.waiting.reason}: ${status.waiting.detail}`);
  if (progress !== null) {
    const percent = progress.totalBytes === 0 ? 0 : Math.floor((100 * progress.doneBytes) / progress.totalBytes);
    lines.push(`progress  ${percent} % of sequence ${progress.sequence}`);
  }
  for (const { sequence, reason } of quarantined) lines.push(`refuses   sequence ${sequence}: ${reason}`);
  lines.push(
    `server    ${status.server ?? 'none'}${status.serverTrouble === null ? '' : ` · ${status.serverTrouble}`}`,
  );
  lines.push(
    `reports   ${status.reportsWaiting} wait for the server · MQTT ${status.mqttConnected ? 'connected' : 'not connected'}`,
  );
  return lines;
}
