/**
 * The decisions of a device, one line of JSON each, in two files of its data directory (history-file.ts): written by the agent, read by `holdfast replay`. For people who look for a cause; nothing is decided on it.
 *
 * A reader takes what it knows of a line and leaves the rest, because devices may be newer than the reader; a line that
 * it cannot read (torn by a power cut) is counted and passed over.
 */
import * as v from 'valibot';
import { InstallState, Slot } from './device-api.ts';

const Text = (max: number) => v.pipe(v.string(), v.maxLength(max));
const Moment = v.nullable(v.pipe(v.number(), v.safeInteger(), v.minValue(0)));

export const HistoryEntry = v.variant('kind', [
  /** The agent started, and boot recovery decided by these facts (agent/core/boot-recovery.ts). */
  v.object({
    kind: v.literal('start'),
    atUnixMs: Moment,
    agentVersion: Text(32),
    bootId: Text(64),
    slot: Slot,
    situation: v.object({
      booted: v.picklist(['target', 'other']),
      onTrial: v.boolean(),
      flag: v.picklist(['none', 'pending', 'spent']),
      journal: v.union([InstallState, v.literal('damaged')]),
      belowFloor: v.boolean(),
    }),
    rule: Text(64),
    state: InstallState,
  }),
  /** The install machine took an event (agent/core/install-machine.ts). */
  v.object({
    kind: v.literal('event'),
    atUnixMs: Moment,
    before: InstallState,
    event: Text(32),
    state: InstallState,
    actionId: v.nullable(Text(64)),
    /** The trouble that the event brought, `code: detail`, or empty. */
    why: Text(700),
  }),
]);
export type HistoryEntry = v.InferOutput<typeof HistoryEntry>;

/** Entries in the order of the file, and how many lines could not be read. */
export function decodeHistory(text: string): { readonly entries: HistoryEntry[]; readonly unread: number } {
  const entries: HistoryEntry[] = [];
  let unread = 0;
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const entry = decodeLine(line);
    if (entry === undefined) unread += 1;
    else entries.push(entry);
  }
  return { entries, unread };
}

function decodeLine(line: string): HistoryEntry | undefined {
  try {
    const parsed = v.safeParse(HistoryEntry, JSON.parse(line));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}
