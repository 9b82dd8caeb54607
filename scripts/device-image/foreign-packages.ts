/**
 * Debian packages of the device's architecture, fetched and verified by apt with lists, cache and configuration of its
 * own: this machine's package lists and architectures stay as they are, and no root rights are needed.
 *
 * What was fetched once is used from then on, so that an image can be made again without a network.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EXIT, Fault } from '../../platform/fault.ts';
import { needProgram } from '../programs.ts';

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
/** What the lab is tested with; the kernel and its modules come from here, whatever Debian this machine has. */
const SUITE = 'bookworm';
export interface DebianArchive {
  readonly main: string;
  readonly security: string;
}

/** Anybody can read it. */
const PUBLIC_ARCHIVE = 'http://deb.debian.org';

/**
 * Debian's archive as this machine's own apt has it (what `apt-get indextargets` says, a URI a line): where it is set up
 * with a nearer copy, that one serves; else Debian's own.
 */
export function archiveOf(repositoryUris: string): DebianArchive {
  const uris = repositoryUris.split('\n').map((uri) => uri.replace(/\/$/, ''));
  const ends = (name: string): string =>
    uris.find((uri) => /^https?:/.test(uri) && uri.endsWith(`/${name}`)) ?? `${PUBLIC_ARCHIVE}/${name}`;
  return { main: ends('debian'), security: ends('debian-security') };
}

async function findArchive(): Promise<DebianArchive> {
  const named = process.env.HOLDFAST_DEBIAN_ARCHIVE;
  if (named !== undefined) return { main: `${named}/debian`, security: `${named}/debian-security` };
  const { stdout } = await needProgram('apt-get', ['indextargets', '--format', '$(REPO_URI)']);
  return archiveOf(stdout);
}

export interface ForeignPackage {
  readonly name: string;
  readonly version: string;
  /** The .deb. */
  readonly path: string;
  readonly sha256: string;
}

export class ForeignPackages {
  readonly #folder: string;
  readonly #architecture: string;
  readonly #say: (line: string) => void;
  #updated = false;

  /** `folder` keeps lists and packages; made when it is not there. */
  constructor(folder: string, architecture: string, say: (line: string) => void) {
    this.#folder = folder;
    this.#architecture = architecture;
    this.#say = say;
  }

  /** The named packages, and nothing that they depend on. Those that lie there already are not asked for. */
  async fetch(names: readonly string[]): Promise<ForeignPackage[]> {
    const folder = join(this.#folder, 'packages');
    await mkdir(folder, { recursive: true });
    const missing = await this.#missing(folder, names);
    if (missing.length > 0) {
      await this.#update();
      this.#say(`fetching ${missing.join(', ')} (${this.#architecture})`);
      // apt gives its rights away for downloads, to a user that cannot reach every folder.
      const options = ['-o', 'APT::Sandbox::User=root', 'download', ...missing];
      await needProgram('apt-get', [...this.#configuration(), ...options], { cwd: folder });
    }
    const found: ForeignPackage[] = [];
    for (const name of names) found.push(await this.#found(folder, name));
    return found;
  }

  /** What a metapackage stands for now: the first package that it depends on whose name begins with `prefix`. */
  async dependencyOf(metapackage: string, prefix: string): Promise<string> {
    const note = join(this.#folder, `${metapackage}.depends`);
    if (existsSync(note)) return (await readFile(note, 'utf8')).trim();
    await this.#update();
    const { stdout } = await needProgram('apt-cache', [...this.#configuration(), 'depends', metapackage]);
    const name = stdout
      .split('\n')
      .map((line) => /^\s*Depends: (\S+)$/.exec(line)?.[1] ?? '')
      .find((one) => one.startsWith(prefix));
    if (name === undefined) {
      throw new Fault({
        code: 'package-unknown',
        what: `${metapackage} depends on nothing that begins with ${prefix}`,
        where: `${(await findArchive()).main}, ${SUITE}, ${this.#architecture}`,
        cure: 'Look at `apt-cache depends` for its new name.',
        exitStatus: EXIT.environment,
      });
    }
    await writeFile(note, `${name}\n`);
    return name;
  }

  /**
   * The named packages and all that they depend on, and nothing of this machine's. `note` names where what was found is
   * kept: the answer stays the same until other packages are asked for.
   */
  async closureOf(note: string, names: readonly string[]): Promise<readonly string[]> {
    const path = join(this.#folder, `${note}.packages`);
    const asked = names.join(' ');
    const [before, ...known] = existsSync(path) ? (await readFile(path, 'utf8')).trim().split('\n') : [];
    if (before === asked) return known;
    await this.#update();
    const words = ['install', '--simulate', '--no-install-recommends', '--yes', ...names];
    const { stdout } = await needProgram('apt-get', [...this.#configuration(), ...words], { env: { LC_ALL: 'C' } });
    const found = [...stdout.matchAll(/^Inst (\S+)/gm)].map(([, name = '']) => name).sort();
    await writeFile(path, `${[asked, ...found].join('\n')}\n`);
    return found;
  }

  async #missing(folder: string, names: readonly string[]): Promise<string[]> {
    const present = await readdir(folder);
    return names.filter((name) => !present.some((file) => file.startsWith(`${name}_`)));
  }

  async #found(folder: string, name: string): Promise<ForeignPackage> {
    const file = (await readdir(folder))
      .filter((one) => one.startsWith(`${name}_`))
      .sort()
      .at(-1);
    if (file === undefined) throw new Error(`apt-get download left no ${name}_*.deb in ${folder}`);
    const path = join(folder, file);
    const sha256 = createHash('sha256')
      .update(await readFile(path))
      .digest('hex');
    return { name, version: decodeURIComponent(file.split('_')[1] ?? ''), path, sha256 };
  }

  async #update(): Promise<void> {
    if (this.#updated) return;
    for (const name of ['state/lists/partial', 'cache/archives/partial', 'etc']) {
      await mkdir(join(this.#folder, name), { recursive: true });
    }
    if (!existsSync(KEYRING)) {
      throw new Fault({
        code: 'keyring-missing',
        what: "Debian's keys are not here: nothing that a mirror sends could be verified",
        where: KEYRING,
        cure: 'apt-get install debian-archive-keyring',
        exitStatus: EXIT.environment,
      });
    }
    const { main, security } = await findArchive();
    const from = (uri: string, suite: string): string => `deb [signed-by=${KEYRING}] ${uri} ${suite} main\n`;
    await writeFile(join(this.#folder, 'state/status'), '');
    await writeFile(join(this.#folder, 'etc/sources.list'), from(main, SUITE) + from(security, `${SUITE}-security`));
    this.#say(`reading Debian's package lists (${SUITE}, ${this.#architecture})`);
    await needProgram('apt-get', [...this.#configuration(), '-q', '-q', 'update']);
    this.#updated = true;
  }

  #configuration(): string[] {
    const at = (name: string): string => join(this.#folder, name);
    const settings = {
      'APT::Architecture': this.#architecture,
      'APT::Architectures': this.#architecture,
      'Dir::State': at('state'),
      'Dir::State::status': at('state/status'),
      'Dir::Cache': at('cache'),
      'Dir::Etc::sourcelist': at('etc/sources.list'),
      'Dir::Etc::sourceparts': '-',
      'Dir::Etc::preferencesparts': '-',
    };
    return Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  }
}
