/** A device's decisions from files: its data directory, or a copy of it, or one `history` file. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { faultOfSystemError } from '../../platform/command-line.ts';
import { nodeDisk } from '../../platform/disk.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { readInputFile } from '../../platform/input-file.ts';
import { readTwoCopy } from '../../platform/two-copy-record.ts';
import { InstallState } from '../../protocol/device-api.ts';
import { decodeHistory, type HistoryEntry } from '../../protocol/history.ts';
import { HISTORY_FILE, OLDER_HISTORY_FILE } from '../../protocol/history-file.ts';

/** What is needed of the journal to say where the device stands; the rest of it is the agent's. */
const Standing = v.object({
  state: InstallState,
  owed: v.array(v.string()),
  action: v.nullable(v.object({ actionId: v.string(), version: v.string() })),
  trouble: v.nullable(v.object({ code: v.string(), detail: v.string() })),
});
export type Standing = v.InferOutput<typeof Standing>;

export interface DeviceDecisions {
  readonly entries: readonly HistoryEntry[];
  /** Lines that could not be read. */
  readonly unread: number;
  /** Where the journal says that it stands; undefined without a journal. */
  readonly standing: Standing | undefined;
}

/** More than the two files of a device may have; a reader of somebody's file still stops somewhere. */
const FILE_CAP_BYTES = 16 * 1024 * 1024;

export async function readDecisions(path: string): Promise<DeviceDecisions> {
  const facts = await stat(path).catch((error: unknown) => {
    throw faultOfSystemError(error, path) ?? error;
  });
  if (!facts.isDirectory()) {
    const found = await readFile(path);
    if (found.entries.length > 0) return { ...found, standing: undefined };
    throw noDecisions(path);
  }
  const files = [join(path, OLDER_HISTORY_FILE), join(path, HISTORY_FILE)];
  const parts = [];
  for (const file of files) if (await isFile(file)) parts.push(await readFile(file));
  const standing = await readStanding(join(path, 'journal'));
  if (parts.length === 0) throw noDecisions(path);
  const unread = parts.reduce((sum, part) => sum + part.unread, 0);
  return { entries: parts.flatMap(({ entries }) => entries), unread, standing };
}

async function readFile(path: string) {
  const bytes = await readInputFile(path, FILE_CAP_BYTES, 'a history of decisions');
  return decodeHistory(new TextDecoder().decode(bytes));
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (facts) => facts.isFile(),
    () => false,
  );
}

async function readStanding(journal: string): Promise<Standing | undefined> {
  const { current } = await readTwoCopy(nodeDisk, journal);
  if (current === undefined) return undefined;
  const parsed = v.safeParse(Standing, JSON.parse(new TextDecoder().decode(current.payload)));
  return parsed.success ? parsed.output : undefined;
}

function noDecisions(path: string): Fault {
  return new Fault({
    code: 'history-missing',
    what: 'no decision of a device stands there',
    where: path,
    cure: `Give the agent's data directory (it holds a file ${HISTORY_FILE}), a copy of it, or that file.`,
    exitStatus: EXIT.input,
  });
}
