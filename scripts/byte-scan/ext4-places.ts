/**
 * Which file of an ext4 file system a byte lies in, asked of e2fsprogs' debugfs; on a copy whose journal e2fsck has put
 * into effect, because power that went away leaves the file system behind its journal.
 */
import { copyFile } from 'node:fs/promises';
import { needProgram, runProgram } from '../programs.ts';

/** A file's path; `null`: in no file, which is free, or of the file system itself. */
export type Place = string | null;

const JOURNAL_INODE = '8';
/** e2fsck: errors corrected, and nothing left. */
const CORRECTED = 1;
const PER_CALL = 200;

export class Ext4Places {
  readonly #image: string;
  readonly #blockBytes: number;

  private constructor(image: string, blockBytes: number) {
    this.#image = image;
    this.#blockBytes = blockBytes;
  }

  /** `image` is one file system; `copy` is made. */
  static async of(image: string, copy: string): Promise<Ext4Places> {
    await copyFile(image, copy);
    const { status, stdout } = await runProgram('e2fsck', ['-f', '-y', copy]);
    if (status > CORRECTED) throw new Error(`${image} is no sound ext4: ${stdout}`);
    const { stdout: said } = await needProgram('dumpe2fs', ['-h', copy]);
    const blockBytes = Number(/^Block size:\s+(\d+)$/m.exec(said)?.[1]);
    if (!Number.isSafeInteger(blockBytes) || blockBytes < 1024) throw new Error(`${image} has no block size`);
    return new Ext4Places(copy, blockBytes);
  }

  /** By offset. `<journal>`: the file system's own journal. */
  async at(offsetsBytes: readonly number[]): Promise<ReadonlyMap<number, Place>> {
    const blockOf = (offset: number): number => Math.floor(offset / this.#blockBytes);
    const blocks = [...new Set(offsetsBytes.map(blockOf))];
    const inodes = await this.#ask('icheck', blocks);
    const found = [...new Set(inodes.values())].filter((inode) => inode !== JOURNAL_INODE);
    const paths = await this.#ask('ncheck', found.map(Number));
    const placeOf = (offset: number): Place => {
      const inode = inodes.get(blockOf(offset));
      if (inode === undefined) return null;
      return inode === JOURNAL_INODE ? '<journal>' : (paths.get(Number(inode)) ?? `<inode ${inode}>`);
    };
    return new Map(offsetsBytes.map((offset) => [offset, placeOf(offset)]));
  }

  /** As the file system has it; undefined: there is none. */
  async read(path: string): Promise<string | undefined> {
    const { stdout, stderr } = await needProgram('debugfs', ['-R', `cat ${path}`, this.#image]);
    return /File not found/.test(stderr) ? undefined : stdout;
  }

  /** Permission bits; undefined: there is none. */
  async modeOf(path: string): Promise<number | undefined> {
    const { stdout } = await needProgram('debugfs', ['-R', `stat ${path}`, this.#image]);
    const mode = /Mode:\s+0*([0-7]+)/.exec(stdout)?.[1];
    return mode === undefined ? undefined : Number.parseInt(mode, 8) & 0o777;
  }

  /** Names in a folder. */
  async list(path: string): Promise<readonly string[]> {
    const { stdout } = await needProgram('debugfs', ['-R', `ls -p ${path}`, this.#image]);
    const names = stdout.split('\n').map((line) => line.split('/')[5] ?? '');
    return names.filter((name) => name !== '' && name !== '.' && name !== '..');
  }

  /** Two columns: what was asked, and what debugfs says of it; without what it does not find. */
  async #ask(what: 'icheck' | 'ncheck', numbers: readonly number[]): Promise<ReadonlyMap<number, string>> {
    const found = new Map<number, string>();
    for (let at = 0; at < numbers.length; at += PER_CALL) {
      const words = numbers.slice(at, at + PER_CALL).join(' ');
      const { stdout } = await needProgram('debugfs', ['-R', `${what} ${words}`, this.#image]);
      for (const [, number, said = ''] of stdout.matchAll(/^(\d+)\t(.+)$/gm)) {
        if (said !== '<block not found>') found.set(Number(number), said);
      }
    }
    return found;
  }
}
