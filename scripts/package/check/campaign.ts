/**
 * `npm run package -- --check`: the packages that were just built, tried in real Debian roots. Needs root, and what
 * scripts/setup.sh --package-check installs. Roots are kept in build/package-check and copied for each trial.
 */
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { arch, tmpdir } from 'node:os';
import { join } from 'node:path';
import { agentNodeFlags } from '../../agent-launcher.ts';
import { DEVICE_PROGRAMS } from '../../build.ts';
import { sha256OfFile } from '../../file-digest.ts';
import { needProgram, runProgram } from '../../programs.ts';
import type { BuiltPackage } from '../build-packages.ts';
import { buildDeb } from '../deb.ts';
import { type Architecture, nodeRuntime } from '../node-runtime.ts';
import { checkBooted } from './booted.ts';
import { Chroot, debianRoot } from './debian-root.ts';
import { makeDeviceFiles } from './device-files.ts';
import { checkLife } from './life.ts';
import { Cases, type Suite } from './suite.ts';

/** systemd-analyze's scale: 0 is shut, 10 is open. The figures stand in docs/PACKAGING.md. */
const EXPOSURE_LIMITS = {
  'holdfast-agent': 2.2,
  'holdfast-quiet': 1.8,
  'holdfast-quiet-guard': 2.0,
  'holdfast-open': 1.8,
  'holdfast-firstboot': 4.8,
} as const;

export async function checkPackages(
  root: string,
  built: readonly BuiltPackage[],
  say: (line: string) => void,
): Promise<Suite[]> {
  await needProgram('sh', [join(root, 'scripts/setup.sh'), '--package-check'], {
    onStderr: (text) => say(text.trim()),
  });
  const cache = join(root, 'build/package-check');
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-package-'));
  const here: Architecture = arch() === 'arm64' ? 'arm64' : 'amd64';
  const suites: Suite[] = [];
  try {
    const files = await makeDeviceFiles(root, folder);
    suites.push(await lintian(built, say), await unitFiles(root, folder, say));
    for (const one of built) {
      if (one.architecture === here) suites.push(...(await tryHere(root, cache, folder, files, one, say)));
      else suites.push(await tryForeign(root, cache, folder, one, say));
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  return suites;
}

async function lintian(built: readonly BuiltPackage[], say: (line: string) => void): Promise<Suite> {
  const cases = new Cases('lintian', say);
  for (const { path } of built) {
    const { status, stdout } = await runProgram('lintian', ['--fail-on', 'error,warning', path]);
    cases.check(path.split('/').at(-1) ?? path, status === 0 ? [] : stdout.trim().split('\n'));
  }
  return cases.suite();
}

async function unitFiles(root: string, folder: string, say: (line: string) => void): Promise<Suite> {
  const cases = new Cases('unit', say);
  for (const [name, limit] of Object.entries(EXPOSURE_LIMITS)) {
    const unit = join(folder, `${name}.service`);
    await needProgram('cp', [join(root, `agent/systemd/${name}.service`), unit]);
    const { stdout } = await runProgram('systemd-analyze', ['security', '--offline=true', '--no-pager', unit]);
    const exposure = Number(/Overall exposure level for \S+: ([0-9.]+)/.exec(stdout)?.[1] ?? Number.NaN);
    const found = exposure <= limit ? [] : [stdout.slice(-400)];
    cases.check(`systemd-analyze security ${name}: at most ${limit}`, found);
    cases.note(`${name} exposure ${exposure}`);
  }
  return cases.suite();
}

async function tryHere(
  root: string,
  cache: string,
  folder: string,
  files: string,
  built: BuiltPackage,
  say: (line: string) => void,
): Promise<Suite[]> {
  const kept = await debianRoot(cache, built.architecture, false);
  const name = `${built.variant} ${built.architecture}`;
  const cases = new Cases(name, say);
  const chroot = await Chroot.copyOf(kept, join(folder, 'life'));
  if (built.variant === 'holdfast-agent') {
    const refused = await chroot.install(built.path);
    cases.holds('without Node, dpkg says what is missing', refused.stderr, 'nodejs (>= 22.15)');
    await chroot.run('dpkg', '--purge', built.variant);
    await chroot.install(await nodePackage(root, folder, built.architecture));
  }
  await checkLife(chroot, built, files, cases);
  await chroot.remove();
  const suites = [cases.suite()];
  if (built.variant === 'holdfast-agent-node') {
    const booted = new Cases(`${name}, booted`, say);
    const container = await Chroot.copyOf(kept, join(folder, 'booted'));
    await checkBooted(container, built, files, booted);
    await container.remove();
    suites.push(booted.suite());
  }
  return suites;
}

/** What a device has from NodeSource or its maker: a package `nodejs` that is new enough. */
async function nodePackage(root: string, folder: string, architecture: Architecture): Promise<string> {
  const runtime = await nodeRuntime(root, join(root, 'build/node'), architecture);
  const control = {
    Package: 'nodejs',
    Version: runtime.version,
    Architecture: architecture,
    Maintainer: 'Nobody <nobody@localhost>',
    Description: 'stands for a newer Node of the device maker',
  };
  const files = [{ path: '/usr/bin/node', mode: 0o755, content: { copyOf: runtime.program } }] as const;
  const facts = { control, files, maintainerScripts: {}, folders: [], sourceDateEpoch: 0 };
  return (await buildDeb(facts, join(folder, `nodejs_${runtime.version}_${architecture}.deb`))).path;
}

interface ProgramFiles {
  readonly metadata: {
    readonly component: { readonly components: readonly { name: string; hashes: readonly { content: string }[] }[] };
  };
}

/** Programs that are there and not named with their digest. */
async function unnamedPrograms(unpacked: string): Promise<string[]> {
  const text = await readFile(join(unpacked, 'usr/share/holdfast-agent/agent.cdx.json'), 'utf8');
  const { components } = (JSON.parse(text) as ProgramFiles).metadata.component;
  const folder = join(unpacked, 'usr/lib/holdfast');
  const programs = (await readdir(folder)).filter((name) => name.endsWith('.mjs'));
  const unnamed: string[] = programs.length === DEVICE_PROGRAMS.length ? [] : [`there are ${programs.join(', ')}`];
  for (const name of programs) {
    const sha256 = await sha256OfFile(join(folder, name));
    const named = components.find((one) => one.name === name)?.hashes.some(({ content }) => content === sha256);
    if (named !== true) unnamed.push(`${name} ${sha256}`);
  }
  return unnamed;
}

/** Another machine's package: its agent runs in an emulated processor, on the libraries of that Debian. */
async function tryForeign(
  root: string,
  cache: string,
  folder: string,
  built: BuiltPackage,
  say: (line: string) => void,
): Promise<Suite> {
  const cases = new Cases(`${built.variant} ${built.architecture}`, say);
  const unpacked = join(folder, 'foreign');
  await rm(unpacked, { recursive: true, force: true });
  await needProgram('dpkg-deb', ['--extract', built.path, unpacked]);
  const bundle = join(unpacked, 'usr/lib/holdfast/agent.mjs');
  cases.check('the bill of materials names each program', await unnamedPrograms(unpacked));
  if (built.variant !== 'holdfast-agent-node') return cases.suite();
  const libraries = await debianRoot(cache, built.architecture, true);
  const machine = built.architecture === 'arm64' ? 'aarch64' : 'x86_64';
  const node = join(unpacked, 'usr/lib/holdfast/node');
  const run = await runProgram(`qemu-${machine}-static`, [
    '-L',
    libraries,
    node,
    ...agentNodeFlags(root),
    bundle,
    '--version',
  ]);
  const version = built.path.split('_')[1] ?? '';
  cases.check(
    `says its version on ${machine}`,
    run.stdout.trim() === version ? [] : [run.stdout, run.stderr.slice(-400)],
  );
  return cases.suite();
}
