/**
 * A .deb from a list of files, the same bytes from the same list whenever and wherever it is built: one owner, one date,
 * names in order, one thread of the compressor. dpkg-deb does the rest.
 *
 * May not: look at the machine; what goes in is the caller's list.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { needProgram } from '../programs.ts';

export interface PackagedFile {
  /** Absolute, as on the device. */
  readonly path: string;
  readonly mode: 0o644 | 0o755;
  readonly content: { readonly bytes: Uint8Array | string } | { readonly copyOf: string };
}

export interface DebFacts {
  /** The fields of DEBIAN/control in their order; Installed-Size is added. */
  readonly control: Readonly<Record<string, string>>;
  /** DEBIAN/preinst and so on, by name. */
  readonly maintainerScripts: Readonly<Record<string, string>>;
  readonly files: readonly PackagedFile[];
  /** Folders that are shipped empty. */
  readonly folders: readonly string[];
  readonly sourceDateEpoch: number;
}

export interface BuiltDeb {
  readonly path: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

export async function buildDeb(facts: DebFacts, output: string): Promise<BuiltDeb> {
  const stage = await mkdtemp(join(tmpdir(), 'holdfast-deb-'));
  // Another run may build the same at this moment.
  const fresh = `${output}.${process.pid}.new`;
  try {
    const installedBytes = await layOut(stage, facts);
    await writeControl(stage, facts, installedBytes);
    await oneDate(stage, facts.sourceDateEpoch);
    await mkdir(dirname(output), { recursive: true });
    await needProgram('dpkg-deb', ['--root-owner-group', '-Zxz', '-z1', '--build', stage, fresh], {
      // Several threads cut the stream into other pieces than one.
      env: { SOURCE_DATE_EPOCH: String(facts.sourceDateEpoch), DPKG_DEB_THREADS_MAX: '1', XZ_DEFAULTS: '' },
    });
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
  // Under its own name it is whole, or not there.
  await rename(fresh, output);
  const bytes = await readFile(output);
  return { path: output, sizeBytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** Returns the bytes of all files. */
async function layOut(stage: string, { files, folders }: DebFacts): Promise<number> {
  let bytes = 0;
  for (const folder of folders) await makeFolder(stage, folder);
  for (const { path, mode, content } of files) {
    await makeFolder(stage, dirname(path));
    const target = join(stage, path);
    if ('copyOf' in content) await copyFile(content.copyOf, target);
    else await writeFile(target, content.bytes);
    await chmod(target, mode);
    bytes += (await readFile(target)).length;
  }
  return bytes;
}

/** Mode 0755, whatever the umask. */
async function makeFolder(stage: string, path: string): Promise<void> {
  if (path === '/' || existsSync(join(stage, path))) return;
  await makeFolder(stage, dirname(path));
  await mkdir(join(stage, path));
  await chmod(join(stage, path), 0o755);
}

async function writeControl(stage: string, facts: DebFacts, installedBytes: number): Promise<void> {
  await makeFolder(stage, '/DEBIAN');
  await chmod(stage, 0o755);
  const { Description = '', ...fields } = facts.control;
  const lines = Object.entries({ ...fields, 'Installed-Size': String(Math.ceil(installedBytes / 1024)), Description });
  const put = async (name: string, text: string, mode: number): Promise<void> => {
    await writeFile(join(stage, 'DEBIAN', name), text);
    await chmod(join(stage, 'DEBIAN', name), mode);
  };
  await put('control', lines.map(([name, value]) => `${name}: ${value}\n`).join(''), 0o644);
  for (const [name, text] of Object.entries(facts.maintainerScripts)) await put(name, text, 0o755);
  const sums: string[] = [];
  for (const path of facts.files.map((file) => file.path).sort()) {
    const sum = createHash('md5')
      .update(await readFile(join(stage, path)))
      .digest('hex');
    sums.push(`${sum}  ${path.slice(1)}\n`);
  }
  await put('md5sums', sums.join(''), 0o644);
}

async function oneDate(stage: string, epochSeconds: number): Promise<void> {
  for (const name of await readdir(stage, { recursive: true }))
    await utimes(join(stage, name), epochSeconds, epochSeconds);
  await utimes(stage, epochSeconds, epochSeconds);
}
