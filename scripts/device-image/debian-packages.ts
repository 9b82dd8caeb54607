/** Unpacks Debian packages into a tree as dpkg would, without their scripts, and leaves dpkg's records of them. */
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { needProgram } from '../programs.ts';

/** A file that is not root's, or not everybody's. */
export interface Special {
  /** In the tree. */
  readonly path: string;
  readonly mode: number;
  readonly user: string;
  readonly group: string;
}

/** On the device /var/lib/dpkg leads there: what is installed belongs to the slot, and /var does not. */
const RECORDS = 'usr/lib/sysimage/dpkg';
const MERGED = ['bin', 'lib', 'sbin'];

/** Paths of .deb files. Answers what they give to other groups than root's. */
export async function installPackages(tree: string, debs: readonly string[]): Promise<Special[]> {
  const special: Special[] = [];
  const records: string[] = [];
  await mkdir(join(tree, RECORDS, 'info'), { recursive: true });
  for (const deb of debs) {
    await needProgram('dpkg-deb', ['--extract', deb, tree]);
    const control = (await needProgram('dpkg-deb', ['--field', deb])).stdout.trim();
    const field = (name: string): string => new RegExp(`^${name}: (.*)$`, 'm').exec(control)?.[1] ?? '';
    const listing = (await needProgram('dpkg-deb', ['--contents', deb], { env: { LC_ALL: 'C' } })).stdout;
    const entries = listing
      .split('\n')
      .filter((line) => line !== '')
      .map(entryOf);
    records.push(control.replace(/^(Package: .*)$/m, '$1\nStatus: install ok installed'));
    const name = field('Multi-Arch') === 'same' ? `${field('Package')}:${field('Architecture')}` : field('Package');
    const list = entries.map(({ path }) => (path === '' ? '/.' : `/${path}`)).join('\n');
    await writeFile(join(tree, RECORDS, 'info', `${name}.list`), `${list}\n`);
    special.push(...entries.filter(({ user, group }) => user !== 'root' || group !== 'root'));
  }
  await writeFile(join(tree, RECORDS, 'status'), `${records.toSorted().join('\n\n')}\n`);
  return special.map((one) => ({ ...one, path: one.path.replace(/^(bin|lib|sbin)\//, 'usr/$1/') }));
}

/** A line of `dpkg-deb --contents`: `-rwxr-sr-x root/shadow   67680 2025-08-10 15:54 ./sbin/unix_chkpwd`. */
export function entryOf(line: string): Special {
  const [, letters = '', user = '', group = '', name = ''] =
    /^.(.{9}) ([^ /]+)\/(\S+) +\d+ \S+ \S+ \.\/(.*)$/.exec(line) ?? [];
  if (letters === '') throw new Error(`dpkg-deb --contents says: ${line}`);
  const bits = [...letters].map((letter) => (letter === '-' || letter === 'S' || letter === 'T' ? '0' : '1'));
  const special =
    (/^..[sS]/.test(letters) ? 4 : 0) + (/^.{5}[sS]/.test(letters) ? 2 : 0) + (/[tT]$/.test(letters) ? 1 : 0);
  const path = name.replace(/ -> .*$/, '').replace(/\/$/, '');
  return { path, mode: special * 0o1000 + Number.parseInt(bits.join(''), 2), user, group };
}

/** /bin, /lib and /sbin become links, as everywhere since bookworm; its packages still name them. */
export async function mergeUsr(tree: string): Promise<void> {
  for (const name of MERGED) {
    // Hard links: a file that is in both places already is an error, and nothing is copied.
    await needProgram('cp', ['--archive', '--link', `${join(tree, name)}/.`, join(tree, 'usr', name)]);
    await rm(join(tree, name), { recursive: true });
    await symlink(`usr/${name}`, join(tree, name));
  }
}
