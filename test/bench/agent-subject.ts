/** Our agent as one of the installers that are compared: the engine, in a process of its own, started as bin/ starts it. */
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';
import { nodeDisk } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import { emulatedPaths, encodeBooted, writeBootEnv } from '../../platform/emulated-boot-env.ts';
import { AGENT_ENVIRONMENT, agentNodeFlags } from '../../scripts/agent-launcher.ts';
import { BUNDLES } from '../../scripts/build.ts';
import { NOW_UNIX_S } from '../sim/release-fixture.ts';
import type { AgentReleases, Travel } from './agent-release.ts';
import type { InstallSubject, MissingSubject } from './peers/subject.ts';
import { measureProgram } from './usage.ts';

export const AGENT_NAMES: Readonly<Record<Travel, string>> = {
  raw: 'agent, whole, not packed',
  packed: 'agent, whole, zstd blocks',
  delta: 'agent, delta',
};

/** The engine and its directory source as one file; answers its path. */
export async function bundleInstaller(folder: string): Promise<string> {
  const program = join(folder, 'install-agent.mjs');
  await build({
    ...BUNDLES.agent,
    plugins: [...BUNDLES.agent.plugins],
    entryPoints: ['test/bench/install-agent.ts'],
    outfile: program,
  });
  return program;
}

/** Tried once: where the engine cannot use this way, it says so by failing, and that is what the table says. */
export async function agentSubject(
  folder: string,
  program: string,
  releases: AgentReleases,
  slot: string,
  travel: Travel,
): Promise<InstallSubject | MissingSubject> {
  const name = AGENT_NAMES[travel];
  const directory = releases.directories[travel];
  if (directory === undefined) return { name, why: `there is no ${travel} release of it` };
  const action = JSON.stringify({ ...releases.action, nowUnixMs: NOW_UNIX_S * 1000 });
  const subject: InstallSubject = {
    name,
    writes: true,
    run: async (env) => {
      const device = await makeDevice(folder, releases, slot);
      const command = [process.execPath, ...agentNodeFlags('.'), program, device, directory, action] as const;
      const usage = await measureProgram(command, { env: { ...AGENT_ENVIRONMENT, ...env } });
      await rm(device, { recursive: true });
      return usage;
    },
  };
  try {
    await subject.run({});
    return subject;
  } catch (error) {
    return { name, why: String(error instanceof Error ? error.message : error).split('\n')[0] ?? '' };
  }
}

/** A fresh device, so that no run finds what another has journaled. It runs release 1 from slot a; its slot b is `slot`. */
async function makeDevice(folder: string, { factoryRoot, old }: AgentReleases, slot: string): Promise<string> {
  const device = await mkdtemp(join(folder, 'device-'));
  for (const path of ['board/slots/a', 'board/slots/b', 'factory', 'data']) {
    await mkdir(join(device, path), { recursive: true });
  }
  await writeDurably(nodeDisk, join(device, 'factory/root.json'), factoryRoot);
  await writeBootEnv(nodeDisk, device, { order: ['a', 'b'], trial: null });
  const booted = encodeBooted({ bootId: 'boot-1', slot: 'a', trial: false });
  await writeDurably(nodeDisk, emulatedPaths(device).booted, booted);
  await symlink(old.path, join(device, 'board/slots/a/rootfs.img'));
  await symlink(slot, join(device, 'board/slots/b/rootfs.img'));
  return device;
}
