/** Runs the command line as people do: a process of its own, from source, with a home of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const PROJECT = join(import.meta.dirname, '..', '..', '..');

export interface Run {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunWishes {
  readonly home: string;
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** `holdfast release build`, and whose release: images and places follow. */
export const buildWords = (version: string, sequence: number): string[] => {
  const whose = ['--vendor', 'acme.example', '--class', 'acme-cam', '--channel', 'stable'];
  return ['release', 'build', ...whose, '--version', version, '--sequence', String(sequence)];
};

export async function runHoldfast(args: readonly string[], wishes: RunWishes): Promise<Run> {
  const child = spawn(join(PROJECT, 'node_modules/.bin/node'), [join(PROJECT, 'cli/main.ts'), ...args], {
    cwd: wishes.cwd ?? wishes.home,
    env: {
      PATH: process.env.PATH,
      HOME: wishes.home,
      HOLDFAST_HOME: wishes.home,
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
      ...wishes.env,
    },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  child.stdin.on('error', () => undefined).end(wishes.input ?? '');
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, stdout, stderr };
}

/** The one JSON document of a `--json` run. Throws when there is anything else on stdout. */
export function documentOf(run: Run): { ok: boolean; code?: string; [key: string]: unknown } {
  return JSON.parse(run.stdout);
}
