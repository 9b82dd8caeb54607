/**
 * What `holdfast-agent status` reads: a picture that the running agent leaves in its data directory whenever it changes.
 * For people; nothing is decided on it, so it is replaced whole and never synced.
 */
import { join } from 'node:path';
import * as v from 'valibot';
import type { Disk } from '../platform/disk.ts';
import { FileTooLarge } from '../platform/disk.ts';
import { Installed, InstallState, Slot, WaitReason } from '../protocol/device-api.ts';
import { OneAtATime } from './one-at-a-time.ts';

const CAP_BYTES = 64 * 1024;
const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

export const AgentStatus = v.strictObject({
  format: v.literal('holdfast-status-1'),
  agentVersion: v.string(),
  deviceId: v.nullable(v.string()),
  hardwareClass: v.string(),
  channel: v.string(),
  environment: v.string(),
  enrolled: v.boolean(),
  server: v.nullable(v.string()),
  serverSeenUnixMs: v.nullable(Count),
  serverTrouble: v.nullable(v.string()),
  mqttConnected: v.boolean(),
  reportsWaiting: Count,
  bootedSlot: v.nullable(Slot),
  state: InstallState,
  stateSinceUnixMs: v.nullable(Count),
  installed: Installed,
  floorSequence: Count,
  actionId: v.nullable(v.string()),
  heldWhy: v.string(),
  waiting: v.nullable(v.strictObject({ reason: WaitReason, detail: v.string(), sinceUnixMs: v.nullable(Count) })),
  quarantined: v.array(v.strictObject({ sequence: Count, reason: v.string() })),
  progress: v.nullable(v.strictObject({ sequence: Count, doneBytes: Count, totalBytes: Count })),
});
export type AgentStatus = v.InferOutput<typeof AgentStatus>;

/** Pictures come from several strands at once: they are written one after another, so that the last one stays. */
export class StatusFile {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #turn = new OneAtATime();

  constructor(disk: Disk, dataDirectory: string) {
    this.#disk = disk;
    this.#path = statusPath(dataDirectory);
  }

  /** Rejects with disk errors. */
  write(status: AgentStatus): Promise<void> {
    return this.#turn.run(async () => {
      const file = await this.#disk.open(`${this.#path}.new`, 'create');
      try {
        await file.write(new TextEncoder().encode(JSON.stringify(status)), 0);
      } finally {
        await file.close();
      }
      await this.#disk.rename(`${this.#path}.new`, this.#path);
    });
  }
}

/** Undefined when no agent ever ran here, or a power cut tore the file. */
export async function readStatusFile(disk: Disk, dataDirectory: string): Promise<AgentStatus | undefined> {
  try {
    const bytes = await disk.readFile(statusPath(dataDirectory), CAP_BYTES);
    if (bytes === undefined) return undefined;
    const status = v.safeParse(AgentStatus, JSON.parse(new TextDecoder().decode(bytes)));
    return status.success ? status.output : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof FileTooLarge) return undefined;
    throw error;
  }
}

const statusPath = (dataDirectory: string): string => join(dataDirectory, 'status.json');
