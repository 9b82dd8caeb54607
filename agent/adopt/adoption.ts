/**
 * Taking a machine over, and giving it back. Everything that an adoption makes is new: it replaces no file, so that
 * undoing it is taking away what it made.
 *
 * Invariants: the record of all that will be made, and of how the unit stood, is durable before the first of it is;
 * both ways may be cut anywhere and run again. What somebody changed since, and a folder that holds a device's state,
 * is left and said.
 * May not: change a login, a firewall, a boot setting, or anything that is not in the record.
 */
import { dirname } from 'node:path';
import * as v from 'valibot';
import type { Disk } from '../../platform/disk.ts';
import { makeDirectoryDurably, removeDurably, writeDurably } from '../../platform/durable-file.ts';
import { errorText, systemErrorCode } from '../../platform/fault.ts';
import { boardFault, type RunProgram, runProgram } from '../boards/board-program.ts';

export const UNIT = 'holdfast-agent.service';
const RECORD_CAP_BYTES = 256 * 1024;
/** A start may have to wait for mounts. */
const UNIT_DEADLINE_MS = 120_000;

export const FORMAT = 'holdfast-adoption-1';
const Record = v.strictObject({
  format: v.literal(FORMAT),
  directories: v.array(v.strictObject({ path: v.string(), mode: v.number() })),
  files: v.array(v.strictObject({ path: v.string(), text: v.string() })),
  /** As it stood before. */
  unit: v.strictObject({ enabled: v.boolean(), active: v.boolean() }),
});
export type Adoption = v.InferOutput<typeof Record>;

export class Adopter {
  readonly #disk: Disk;
  readonly #recordPath: string;
  /** systemd runs here, and not only lies here as in an image that is being built. */
  readonly #live: boolean;
  readonly #run: RunProgram;

  constructor(disk: Disk, recordPath: string, live: boolean, run: RunProgram = runProgram) {
    this.#disk = disk;
    this.#recordPath = recordPath;
    this.#live = live;
    this.#run = run;
  }

  /** What an earlier adoption recorded, finished or not. */
  async standing(): Promise<Adoption | undefined> {
    const bytes = await this.#disk.readFile(this.#recordPath, RECORD_CAP_BYTES);
    if (bytes === undefined) return undefined;
    try {
      return v.parse(Record, JSON.parse(new TextDecoder().decode(bytes)));
    } catch (error) {
      throw boardFault(
        'adoption-record-damaged',
        `the record of the adoption is damaged (${errorText(error)})`,
        this.#recordPath,
        'Take back by hand what docs/PACKAGING.md lists, then remove the file.',
      );
    }
  }

  async unitNow(): Promise<Adoption['unit']> {
    const says = async (verb: string): Promise<boolean> =>
      (await this.#run('systemctl', ['--quiet', verb, UNIT])).status === 0;
    return { enabled: await says('is-enabled'), active: this.#live && (await says('is-active')) };
  }

  async adopt(plan: Adoption): Promise<void> {
    const disk = this.#disk;
    await writeDurably(disk, this.#recordPath, bytesOf(JSON.stringify(plan)));
    for (const { path, mode } of plan.directories) await makeDirectoryDurably(disk, path, mode);
    for (const { path, text } of plan.files) {
      if ((await this.#text(path)) === undefined) await writeDurably(disk, path, bytesOf(text), 0o644);
    }
    if (this.#live) await this.#must('daemon-reload');
    await this.#must('enable', UNIT);
    if (this.#live) await this.#must('start', UNIT);
  }

  /** Returns what was left, and why. Without a record there may still be one that was being written. */
  async undo(standing: Adoption | undefined): Promise<string[]> {
    const left: string[] = [];
    await this.#disk.remove(`${this.#recordPath}.new`);
    if (standing === undefined) return left;
    const { unit, files, directories } = standing;
    if (this.#live && !unit.active) await this.#must('stop', UNIT);
    if (!unit.enabled) await this.#must('disable', UNIT);
    for (const { path, text } of files.toReversed()) {
      await this.#disk.remove(`${path}.new`);
      const now = await this.#text(path);
      if (now === text) await removeDurably(this.#disk, path);
      else if (now !== undefined) left.push(`${path}: changed since`);
    }
    for (const { path } of directories.toReversed()) {
      if (!(await this.#removeEmpty(path))) left.push(`${path}: not empty (identity, trusted root, sequence)`);
    }
    if (this.#live) await this.#must('daemon-reload');
    await removeDurably(this.#disk, this.#recordPath);
    return left;
  }

  async #text(path: string): Promise<string | undefined> {
    const bytes = await this.#disk.readFile(path, RECORD_CAP_BYTES);
    return bytes && new TextDecoder().decode(bytes);
  }

  async #removeEmpty(path: string): Promise<boolean> {
    try {
      await this.#disk.removeDirectory(path);
    } catch (error) {
      const code = systemErrorCode(error);
      if (code !== 'ENOENT') return code === 'ENOTEMPTY' ? false : Promise.reject(error);
    }
    try {
      // Also when the folder was gone already: the attempt that removed it may have been cut before this.
      await this.#disk.syncDirectory(dirname(path));
    } catch (error) {
      if (systemErrorCode(error) !== 'ENOENT') throw error;
    }
    return true;
  }

  async #must(...words: string[]): Promise<void> {
    const { status, said } = await this.#run('systemctl', ['--quiet', ...words], { deadlineMs: UNIT_DEADLINE_MS });
    if (status === 0) return;
    throw boardFault(
      'unit-failed',
      `systemctl ${words[0]} failed (${said})`,
      UNIT,
      'See journalctl -u holdfast-agent, then run this again, or with --undo.',
    );
  }
}

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
