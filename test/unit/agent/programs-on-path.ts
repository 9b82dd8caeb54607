/**
 * Programs of the machine's that cannot be had in a test (systemd is not PID 1 here, nor is there a NetworkManager): a
 * folder of executables in front of PATH, so that the agent starts a real process and reads what it prints. Only what the
 * program answers is made up.
 */
import { chmod, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class ProgramsOnPath {
  readonly directory: string;
  readonly #before = process.env.PATH ?? '';

  static async make(): Promise<ProgramsOnPath> {
    return new ProgramsOnPath(await mkdtemp(join(tmpdir(), 'programs-')));
  }

  private constructor(directory: string) {
    this.directory = directory;
    process.env.PATH = `${directory}:${this.#before}`;
  }

  /** A shell script; `$D` in it is this folder. */
  async put(name: string, body: string): Promise<void> {
    const path = join(this.directory, name);
    await writeFile(path, `#!/bin/sh\nD=${this.directory}\n${body}\n`);
    await chmod(path, 0o755);
  }

  /** A file that the scripts read: the old one or the new one, never half of it. */
  async say(name: string, text: string): Promise<void> {
    const path = join(this.directory, name);
    await writeFile(`${path}.new`, text);
    await rename(`${path}.new`, path);
  }

  async remove(): Promise<void> {
    process.env.PATH = this.#before;
    await rm(this.directory, { recursive: true });
  }
}

/** systemctl(1), as far as the agent asks: answers from the files `state`, `failed` and `active`. */
export const SYSTEMCTL = `
case $1 in
  is-system-running) cat $D/state; [ "$(cat $D/state)" = running ] ;;
  list-units) cat $D/failed ;;
  is-active) cat $D/active; exit 3 ;;
esac`;
