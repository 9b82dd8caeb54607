/**
 * Is this boot open? The first boot's own record says so (agent/first-boot/first-boot-record.ts), with the name of the
 * boot; what a former boot wrote there counts for nothing. What is blocked is tried again, and so it has a while.
 *
 * Only what it judges by is read: the record's other fields are the first boot's own affair, of whichever release.
 * May not: change the record.
 */
import { setTimeout as pause } from 'node:timers/promises';
import * as v from 'valibot';
import type { Disk } from '../../platform/disk.ts';
import { hasReached } from '../../protocol/device-api.ts';
import { StateRecord } from '../storage/state-record.ts';

const Opened = v.object({
  state: v.string(),
  opened: v.nullable(v.object({ bootId: v.string() })),
  trouble: v.nullable(v.object({ provider: v.nullable(v.string()), code: v.string(), detail: v.string() })),
});

const ASK_MS = 1000;

export interface FirstBootSettings {
  readonly disk: Disk;
  readonly directory: string;
  readonly bootId: () => Promise<string>;
  /** How long it may take to open. */
  readonly waitMs: number;
}

interface Blocked {
  readonly code: string;
  readonly detail: string;
}

/** Undefined: this boot is open. */
export async function firstBootTrouble(settings: FirstBootSettings): Promise<Blocked | undefined> {
  const endMs = performance.now() + settings.waitMs;
  const bootId = await settings.bootId();
  const record = new StateRecord(settings.disk, `${settings.directory}/record`, Opened);
  for (;;) {
    const reading = await record.read();
    const trouble =
      reading.found === 'whole' ? troubleIn(reading.value, bootId) : { code: 'record-missing', detail: reading.found };
    if (trouble === undefined || performance.now() >= endMs) return trouble;
    await pause(Math.min(ASK_MS, settings.waitMs));
  }
}

function troubleIn({ state, opened, trouble }: v.InferOutput<typeof Opened>, bootId: string): Blocked | undefined {
  if (hasReached(state, 'open') && opened?.bootId === bootId) return undefined;
  const who = trouble?.provider == null ? '' : `${trouble.provider}: `;
  return {
    code: trouble?.code ?? 'not-open',
    detail: `${state}; ${who}${trouble?.detail ?? 'this boot has not opened'}`,
  };
}
