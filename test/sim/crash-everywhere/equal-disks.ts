/**
 * When are two disks the same to a device that boots from them? A key that is equal for those, so that a recovery that
 * ran once counts for every cut that leaves an equal disk.
 *
 * Beyond equal bytes, only differences that no code looks at are taken away, each one here by name:
 * - generations of a two-copy record, and U-Boot's flag: only which copy is newer counts;
 * - a copy, or a metadata file, that does not check out: damaged is damaged, and it is written over;
 * - a block of a slot that belongs to no release: it is judged by its digest alone, and written over;
 * - NAME.new: never read, always emptied first (`readNever` holds the code to it);
 * - the history of decisions: appended for support, and nothing hangs on it (agent/storage/history.ts; `readNever` too);
 * - the names of boots, which are compared with one another only: renamed in order; when a state began: only reported.
 */
import { createHash } from 'node:crypto';
import { HISTORY_FILE, OLDER_HISTORY_FILE } from '../../../protocol/history-file.ts';
import { BLOCK_BYTES } from '../../../trust/blocks.ts';
import { sha256Hex } from '../../../trust/crypto.ts';
import type { FileContent } from '../file-content.ts';
import { decodeEnvironmentCopy } from '../machines/u-boot.ts';
import { STATE } from '../simulated-device.ts';
import type { DiskCall, SimulatedDisk } from '../simulated-disk.ts';
import { copyIn, digestOf } from './durable-records.ts';
import type { World } from './world.ts';

const RECORD = /^(.*\/(?:journal|counters|slots|quarantine|boot-env|record|last-number))\.[01]$/;
const ENVIRONMENT = /^(\/environment\/copy)-[01]$/;
const HISTORY = [HISTORY_FILE, OLDER_HISTORY_FILE].map((name) => `${STATE}/${name}`);
const TEXT_BYTES = 2048;

interface FileKey {
  readonly text: string;
  /** Of a copy that checks out. */
  readonly order?: bigint;
}

export class DiskKeys {
  readonly #known = new WeakMap<FileContent, FileKey>();
  readonly #blocks = new Set<string>();

  constructor(world: Pick<World, 'releases'>) {
    for (const images of world.releases.values()) {
      for (const image of Object.values(images)) {
        for (let at = 0; at < image.length; at += BLOCK_BYTES)
          this.#blocks.add(sha256Hex(image.subarray(at, at + BLOCK_BYTES)));
      }
    }
  }

  keyOf(disk: SimulatedDisk): string {
    const pairs = new Map<string, bigint[]>();
    const lines: string[] = disk.folders();
    const files = [...disk.files()].sort(([one], [other]) => (one < other ? -1 : 1));
    for (const [path, content] of files) {
      const key = this.#known.get(content) ?? this.#fileKey(path, content);
      this.#known.set(content, key);
      const pair = (RECORD.exec(path) ?? ENVIRONMENT.exec(path))?.[1];
      if (pair !== undefined && key.order !== undefined) pairs.set(pair, [...(pairs.get(pair) ?? []), key.order]);
      lines.push(`${path} ${key.text}`);
    }
    for (const [pair, [first = 0n, second]] of pairs) {
      if (second !== undefined) lines.push(`${pair} ${first > second ? '>' : first < second ? '<' : '='}`);
    }
    const boots = new Map<string, string>();
    const text = lines
      .sort()
      .join('\n')
      .replace(/boot-\d+-\d+/g, (name) => {
        const given = boots.get(name) ?? `boot ${boots.size}`;
        boots.set(name, given);
        return given;
      });
    return createHash('sha1').update(text).digest('base64');
  }

  #fileKey(path: string, content: FileContent): FileKey {
    if (path.endsWith('.new')) return { text: 'left over' };
    if (HISTORY.includes(path)) return { text: 'some' };
    if (RECORD.test(path)) {
      const copy = copyIn(content);
      if (copy === undefined) return { text: 'damaged' };
      const payload = new TextDecoder().decode(copy.payload).replace(/"sinceUnixMs":\d+/, '"sinceUnixMs":0');
      return { text: payload, order: copy.generation };
    }
    if (ENVIRONMENT.test(path)) {
      const copy = decodeEnvironmentCopy(content.bytes);
      if (copy === undefined) return { text: 'damaged' };
      return { text: JSON.stringify([...copy.variables].sort()), order: BigInt(copy.flag) };
    }
    if (path.includes('/metadata/')) return { text: metadataKey(content) };
    if (path.endsWith('.img')) return { text: this.#imageKey(content) };
    if (content.length > TEXT_BYTES) return { text: digestOf(content) };
    return { text: Buffer.from(content.bytes).toString('latin1') };
  }

  #imageKey(content: FileContent): string {
    const blocks: string[] = [`${content.length}`];
    for (let at = 0; at < content.length; at += BLOCK_BYTES) {
      const digest = content.digest(BLOCK_BYTES, at);
      blocks.push(this.#blocks.has(digest) ? digest : 'other');
    }
    return blocks.join(' ');
  }
}

function metadataKey(content: FileContent): string {
  const text = Buffer.from(content.bytes).toString('latin1');
  return text.startsWith(`${sha256Hex(content.bytes.subarray(65))}\n`) ? digestOf(content) : 'damaged';
}

/** For `fault`: nothing reads what `keyOf` leaves out. */
export function readNever({ kind, path }: DiskCall): undefined {
  const leftOver = (kind === 'read' || kind === 'open') && path.endsWith('.new');
  if (leftOver || (kind === 'read' && HISTORY.includes(path))) throw new Error(`${path} was read`);
}
