/**
 * `verify`: the verifier of an install, and no install. Reads metadata, envelope, block maps and every block of every
 * image; writes nothing but trusted metadata into the state folder (a fresh one, removed after, unless `--state`).
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { nodeDisk } from '../../platform/disk.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import type { Verdict } from '../../trust/refusal.ts';
import type { CommandOptions } from '../command-options.ts';
import { type AgentConfig, readConfig } from '../config.ts';
import { type ReleaseSource, SourceUnreachable } from '../core/ports.ts';
import { identityPaths, readIdentity } from '../credentials/identity.ts';
import { deviceFacts } from '../device.ts';
import { compileHotCode } from '../hot-code.ts';
import { silentLog } from '../log.ts';
import { obtainRelease, verifyImages } from '../obtain-release.ts';
import { countersRecord } from '../storage/counters.ts';
import { systemClock } from '../system-clock.ts';
import { DirectorySource } from '../transport/directory-source.ts';
import { HttpsSource } from '../transport/https-source.ts';
import { bootstrapServer } from '../transport/known-servers.ts';
import { ServerPool } from '../transport/server-pool.ts';

interface Accepted {
  readonly release: string;
  readonly version: string;
  readonly sequence: number;
  readonly freshness: string;
  readonly images: readonly { readonly component: string; readonly sizeBytes: number; readonly sha256: string }[];
}

export async function verifyCommand(options: CommandOptions): Promise<number> {
  compileHotCode();
  const config = await readConfig(nodeDisk, options.config);
  const stateDirectory =
    options.state === undefined ? await mkdtemp(join(tmpdir(), 'holdfast-verify-')) : resolve(options.state);
  const { source, close } = await openSource(config, options);
  try {
    const verdict = await verify(config, options, source, stateDirectory);
    if (!verdict.ok) return refused(options, verdict);
    print(options, verdict.value);
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof SourceUnreachable)) throw error;
    throw new Fault({
      code: 'source-unreachable',
      what: error.message,
      where: source.description,
      cure: 'Check the address or the directory (it holds metadata/ and targets/), then try again.',
      exitStatus: EXIT.remote,
      cause: error,
    });
  } finally {
    close();
    if (options.state === undefined) await rm(stateDirectory, { recursive: true, force: true });
  }
}

async function verify(
  config: AgentConfig,
  options: CommandOptions,
  source: ReleaseSource,
  stateDirectory: string,
): Promise<Verdict<Accepted>> {
  const identity = await readIdentity(nodeDisk, identityPaths(config.dataDirectory));
  const counters = await countersRecord(nodeDisk, stateDirectory).read();
  const known = counters.found === 'whole' ? counters.value : undefined;
  const ports = { disk: nodeDisk, clock: systemClock(config.clock), log: silentLog, source };
  const settings = {
    device: deviceFacts(config, identity?.deviceId ?? config.deviceId ?? 'unknown'),
    stateDirectory,
    factoryRootPath: config.factoryRoot,
    offline: options.from !== undefined,
  };
  const installed = known?.installedSequence ?? config.factoryInstalled.sequence;
  const obtained = await obtainRelease(ports, settings, options.release ?? '', installed, known?.floorSequence ?? 0);
  if (!obtained.ok) return obtained;
  const images = await verifyImages(ports, obtained.value);
  if (!images.ok) return images;
  const { release, trusted } = obtained.value;
  const { releasePath, version, sequence } = release;
  return {
    ok: true,
    value: { release: releasePath, version, sequence, freshness: trusted.freshness, images: images.value.images },
  };
}

async function openSource(
  config: AgentConfig,
  options: CommandOptions,
): Promise<{ source: ReleaseSource; close: () => void }> {
  if (options.from !== undefined)
    return { source: new DirectorySource(nodeDisk, resolve(options.from)), close: () => {} };
  const bootstrap = await bootstrapServer(nodeDisk, config);
  const url = options.server ?? bootstrap.url;
  if (!URL.canParse(url) || new URL(url).protocol !== 'https:') {
    throw new Fault({
      code: 'usage',
      what: `${url} is not an https:// address`,
      cure: 'Give --server https://HOST:PORT.',
      exitStatus: EXIT.usage,
    });
  }
  const identity = await readIdentity(nodeDisk, identityPaths(config.dataDirectory));
  const pool = new ServerPool([{ ...bootstrap, url }], { identity: () => identity });
  return { source: new HttpsSource(pool), close: () => pool.close() };
}

function refused(options: CommandOptions, refusal: { readonly code: string; readonly detail: string }): number {
  const { code, detail } = refusal;
  if (options.json) process.stdout.write(`${JSON.stringify({ ok: false, code, detail })}\n`);
  else process.stdout.write(`refused: ${code}\n  ${detail}\n`);
  return EXIT.refused;
}

function print(options: CommandOptions, accepted: Accepted): void {
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ ok: true, ...accepted })}\n`);
    return;
  }
  const { version, sequence, freshness, images } = accepted;
  process.stdout.write(`accepted: ${version} (sequence ${sequence}), freshness ${freshness}\n`);
  for (const { component, sizeBytes, sha256 } of images)
    process.stdout.write(`  ${component}  ${sizeBytes} bytes  ${sha256}\n`);
}
