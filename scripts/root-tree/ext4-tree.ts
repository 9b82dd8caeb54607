/** An ext4 file system through debugfs: in a file of its own, or in a disk as `FILE?offset=BYTES`. */
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { EXIT, Fault } from '../../platform/fault.ts';
import { copySparse } from '../device-image/disk.ts';
import { sha256OfFile } from '../file-digest.ts';
import { IMAGE_TOOL_ENV, refuseComplaints } from '../images/ext4-image.ts';
import { needProgram, runProgram } from '../programs.ts';
import type { Replacements, RootTree, TreeEntries, TreeEntry } from './root-tree.ts';

const ENTRIES_AT_MOST = 500_000;
const ROOT_INODE = 2;
const KIND_MASK = 0o170000;
const [FOLDER, FILE, LINK] = [0o040000, 0o100000, 0o120000];

interface Inode {
  readonly path: string;
  readonly number: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
}

export class Ext4Tree implements RootTree {
  readonly kind = 'ext4';
  readonly entries: TreeEntries;
  readonly #image: string;
  readonly #inodes: ReadonlyMap<string, Inode>;

  private constructor(image: string, inodes: readonly Inode[], entries: TreeEntries) {
    this.#image = image;
    this.#inodes = new Map(inodes.map((inode) => [inode.path, inode]));
    this.entries = entries;
  }

  static async open(image: string): Promise<Ext4Tree> {
    const inodes = await listing(image);
    return new Ext4Tree(image, inodes, await entriesOf(image, inodes));
  }

  async read(path: string, capBytes: number): Promise<Uint8Array> {
    const inode = this.#inodes.get(path);
    if (inode === undefined || (inode.mode & KIND_MASK) !== FILE) throw new Error(`/${path} is not a file`);
    if (inode.sizeBytes > capBytes)
      throw new Error(`/${path} has ${inode.sizeBytes} bytes, ${capBytes} at most are read`);
    return inFolder(`${this.#image}.read`, async (folder) => {
      const file = join(folder, 'file');
      await debugfs(this.#image, [`dump <${inode.number}> ${quoted(file)}`], folder);
      return readFile(file);
    });
  }

  async replace(outFile: string, files: Replacements): Promise<void> {
    await copySparse(this.#image, outFile);
    await this.#write(outFile, files, []);
  }

  /** Writes these files where they are, and the folders that they need. */
  async add(files: Replacements): Promise<void> {
    const folders = new Set<string>();
    for (const path of files.keys()) {
      for (let folder = dirname(path); folder !== '.'; folder = dirname(folder)) {
        if (!this.entries.has(folder)) folders.add(folder);
      }
    }
    await this.#write(this.#image, files, [...folders].sort());
  }

  async #write(image: string, files: Replacements, folders: readonly string[]): Promise<void> {
    await inFolder(`${image}.files`, async (work) => {
      const commands = folders.map((folder) => `mkdir ${quoted(`/${folder}`)}`);
      for (const [path, { bytes, mode }] of files) {
        const source = join(work, String(commands.length));
        await writeFile(source, bytes);
        const old = this.#inodes.get(path);
        const kept = old !== undefined && (old.mode & KIND_MASK) === FILE ? old : undefined;
        const bits = mode === undefined ? (kept?.mode ?? 0o644) & 0o7777 : Number.parseInt(mode, 8);
        const name = quoted(path.slice(path.lastIndexOf('/') + 1));
        if (old !== undefined) commands.push(`rm ${quoted(`/${path}`)}`);
        commands.push(`cd ${quoted(dirname(`/${path}`))}`, `write ${quoted(source)} ${name}`);
        commands.push(`sif ${name} mode 0${(FILE | bits).toString(8)}`);
        commands.push(`sif ${name} uid ${kept?.uid ?? 0}`, `sif ${name} gid ${kept?.gid ?? 0}`);
      }
      refuseComplaints(await debugfs(image, commands, work, ['-w']), image);
    });
    await check(image);
  }

  async close(): Promise<void> {}
}

/** Answers what it complained of; it ends with status 0 whatever happens. */
async function debugfs(image: string, commands: readonly string[], folder: string, words: readonly string[] = []) {
  const script = join(folder, 'commands');
  await writeFile(script, `${commands.join('\n')}\n`);
  const { stderr } = await needProgram('debugfs', [...words, '-f', script, image], { env: IMAGE_TOOL_ENV });
  return stderr;
}

async function ask(image: string, commands: readonly string[], onStdout: (text: string) => void): Promise<void> {
  await inFolder(`${image}.ask`, async (folder) => {
    const script = join(folder, 'commands');
    await writeFile(script, `${commands.join('\n')}\n`);
    await needProgram('debugfs', ['-f', script, image], { env: IMAGE_TOOL_ENV, onStdout });
  });
}

/** Every path but the root and lost+found, folders before what is in them. */
async function listing(image: string): Promise<Inode[]> {
  const all: Inode[] = [];
  let folders: { path: string; number: number }[] = [{ path: '', number: ROOT_INODE }];
  while (folders.length > 0) {
    let said = '';
    const take = (text: string): void => {
      said += text;
    };
    await ask(
      image,
      folders.map(({ number }) => `ls -p <${number}>`),
      take,
    );
    // After each command that it reads from a file, debugfs prints it with its prompt.
    const answers = said.split(/^debugfs: ls -p <\d+>$/m).slice(1);
    const next: typeof folders = [];
    for (const [index, { path: folder }] of folders.entries()) {
      for (const inode of (answers[index] ?? '').split('\n').flatMap((line) => inodeOf(line, folder))) {
        all.push(inode);
        if ((inode.mode & KIND_MASK) === FOLDER) next.push(inode);
      }
    }
    if (all.length > ENTRIES_AT_MOST) throw tooMany(image);
    folders = next;
  }
  return all;
}

function inodeOf(line: string, folder: string): Inode[] {
  const [, number, mode = '', uid, gid, name = '', size] =
    /^\/(\d+)\/(\d+)\/(\d+)\/(\d+)\/([^/]+)\/(\d*)\/$/.exec(line) ?? [];
  if (number === undefined || Number(number) === 0 || ['.', '..'].includes(name)) return [];
  const path = join(folder, name);
  if (path === 'lost+found') return [];
  const owner = { uid: Number(uid), gid: Number(gid) };
  return [{ path, number: Number(number), mode: Number.parseInt(mode, 8), ...owner, sizeBytes: Number(size) }];
}

async function entriesOf(image: string, inodes: readonly Inode[]): Promise<TreeEntries> {
  const kindOf = ({ mode }: Inode): number => mode & KIND_MASK;
  const digests = await fileDigests(
    image,
    inodes.filter((inode) => kindOf(inode) === FILE),
  );
  const told = await tellings(
    image,
    inodes.filter((inode) => ![FILE, FOLDER].includes(kindOf(inode))),
  );
  const links = await linkTargets(
    image,
    inodes.filter((inode) => kindOf(inode) === LINK),
    told,
  );
  const entries = new Map<string, TreeEntry>();
  for (const inode of inodes) {
    const { path, number, mode, uid, gid } = inode;
    const facts = { mode: (mode & 0o7777).toString(8), uid, gid };
    const kind = kindOf(inode);
    if (kind === FILE) entries.set(path, { kind: 'file', ...facts, what: digests.get(number) ?? '' });
    else if (kind === FOLDER) entries.set(path, { kind: 'folder', ...facts, what: '' });
    else if (kind === LINK) entries.set(path, { kind: 'link', ...facts, what: links.get(number) ?? '' });
    else {
      const device = /^Device major\/minor number: (\S+)/m.exec(told.get(number) ?? '')?.[1] ?? '';
      entries.set(path, { kind: 'other', ...facts, what: `${kind.toString(8)} ${device}`.trim() });
    }
  }
  return entries;
}

/** What debugfs says of each inode. */
async function tellings(image: string, inodes: readonly Inode[]): Promise<Map<number, string>> {
  const told = new Map<number, string>();
  if (inodes.length === 0) return told;
  let said = '';
  await ask(
    image,
    inodes.map(({ number }) => `stat <${number}>`),
    (text) => {
      said += text;
    },
  );
  for (const part of said.split(/^debugfs: stat /m).slice(1)) {
    const number = /^<(\d+)>/.exec(part)?.[1];
    if (number !== undefined) told.set(Number(number), part);
  }
  return told;
}

/** Short ones stand in the inode, long ones are kept like a file's bytes. */
async function linkTargets(
  image: string,
  inodes: readonly Inode[],
  told: ReadonlyMap<number, string>,
): Promise<Map<number, string>> {
  const targets = new Map<number, string>();
  for (const { number } of inodes) {
    const target = /^Fast link dest: "(.*)"$/m.exec(told.get(number) ?? '')?.[1];
    if (target !== undefined) targets.set(number, target);
  }
  const long = inodes.filter(({ number }) => !targets.has(number));
  await dumped(image, long, async ({ number }, file) => {
    targets.set(number, await readFile(file, 'latin1'));
  });
  return targets;
}

async function fileDigests(image: string, inodes: readonly Inode[]): Promise<Map<number, string>> {
  const digests = new Map<number, string>();
  await dumped(image, inodes, async ({ number, path, sizeBytes }, file) => {
    const { size } = await stat(file);
    if (size !== sizeBytes) throw new Error(`debugfs gave ${size} of ${sizeBytes} bytes of /${path}`);
    digests.set(number, await sha256OfFile(file));
  });
  return digests;
}

async function dumped(image: string, inodes: readonly Inode[], take: (inode: Inode, file: string) => Promise<void>) {
  if (inodes.length === 0) return;
  await inFolder(`${image}.dump`, async (folder) => {
    const file = ({ number }: Inode): string => join(folder, String(number));
    await debugfs(
      image,
      inodes.map((inode) => `dump <${inode.number}> ${quoted(file(inode))}`),
      folder,
    );
    for (const inode of inodes) await take(inode, file(inode));
  });
}

/** The file system is whole after what debugfs did to it. */
async function check(image: string): Promise<void> {
  const { status, stdout } = await runProgram('e2fsck', ['-f', '-n', image], { env: IMAGE_TOOL_ENV });
  if (status !== 0) throw new Error(`${image} is damaged: ${stdout.trim().split('\n').slice(-5).join(' | ')}`);
}

async function inFolder<T>(folder: string, work: (folder: string) => Promise<T>): Promise<T> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true, mode: 0o700 });
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** debugfs knows no escape inside of its quotes. */
function quoted(path: string): string {
  if (!/["\n]/.test(path)) return `"${path}"`;
  throw new Error(`debugfs cannot be told of ${JSON.stringify(path)}`);
}

function tooMany(image: string): Fault {
  return new Fault({
    code: 'tree-too-large',
    what: `the file system has more than ${ENTRIES_AT_MOST} entries`,
    where: image,
    cure: 'Use a smaller root file system.',
    exitStatus: EXIT.input,
  });
}
