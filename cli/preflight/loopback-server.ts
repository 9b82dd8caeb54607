/**
 * A real update server of the preflight's own: on loopback, on ports that are free, signed for by a throwaway repository,
 * in a folder that is removed with everything in it. Nobody but this process has its token.
 */
import { join } from 'node:path';
import * as v from 'valibot';
import type { ThrowawayRepository } from '../../keys/throwaway-repository.ts';
import { nodeDisk } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { readInputFile } from '../../platform/input-file.ts';
import { Process } from '../../platform/processes.ts';
import type { TransportState } from '../../protocol/operator-api.ts';
import { sha256Hex } from '../../trust/crypto.ts';
import { ApiClient } from '../api-client.ts';
import { bundleOf } from './programs.ts';
import type { PreflightRelease } from './release.ts';

/** What the server prints once it listens; its other fields do not concern a preflight. */
const Ready = v.object({
  operatorUrl: v.string(),
  deviceUrl: v.string(),
  serverCa: v.string(),
  oneTimeToken: v.nullable(v.string()),
});

export class LoopbackServer {
  readonly #directory: string;
  readonly #repository: ThrowawayRepository;
  #process: Process | undefined;
  #api: ApiClient | undefined;
  #token: string | undefined;
  #deviceUrl = '';
  #serverCa = '';

  constructor(directory: string, repository: ThrowawayRepository) {
    this.#directory = directory;
    this.#repository = repository;
  }

  get api(): ApiClient {
    if (this.#api === undefined) throw new Error('the loopback server is not started');
    return this.#api;
  }

  /** Where devices find it. */
  get forDevices(): { readonly url: string; readonly mqttUrl: null; readonly anchorsFile: string } {
    return { url: this.#deviceUrl, mqttUrl: null, anchorsFile: this.#serverCa };
  }

  /** Starts it, or starts it again on what it has. `recipes`: does it make any? */
  async start(recipes: boolean): Promise<void> {
    await this.stop();
    const keys = join(this.#directory, 'keys');
    await nodeDisk.makeDirectory(keys, 0o700);
    for (const [name, bytes] of Object.entries(this.#repository.serverFiles)) {
      await writeDurably(nodeDisk, join(keys, name), bytes, 0o600);
    }
    const ports = ['--device-port', '0', '--operator-port', '0', '--mqtt-port', '0'];
    // What is in the images does not run here: such a device does no first boot, and can prove nothing.
    const gate = ['--credentials-gate', 'report'];
    const pace = ['--tick-ms', '200', '--poll-after-ms', '500', '--delta-releases', recipes ? '1' : '0'];
    const place = ['--data', join(this.#directory, 'data'), '--keys', keys];
    this.#process = new Process({
      name: 'holdfast-server',
      file: process.execPath,
      args: [bundleOf('holdfast-server'), 'run', ...place, ...ports, ...pace, ...gate, '--log-level', 'warn', '--json'],
      logFile: join(this.#directory, 'server.log'),
    });
    const ready = v.parse(Ready, await this.#process.firstLine());
    this.#deviceUrl = ready.deviceUrl;
    this.#serverCa = ready.serverCa;
    const ca = Buffer.from(await readInputFile(ready.serverCa, 64 * 1024, 'a certificate')).toString('utf8');
    const access = { serverUrl: ready.operatorUrl, ca };
    this.#token ??= await lastingToken({ ...access, token: ready.oneTimeToken ?? '' });
    this.#api = new ApiClient({ ...access, token: this.#token });
  }

  async stop(): Promise<void> {
    this.#api?.close();
    this.#api = undefined;
    await this.#process?.stop();
    this.#process = undefined;
  }

  /** Throws when it ended by itself. */
  demandAlive(): void {
    if (this.#process?.endedByItself !== true) return;
    throw new Fault({
      code: 'program-ended',
      what: 'the loopback server ended in the middle of the preflight',
      cure: 'Look whether this machine has memory and disk left, and start it again.',
      exitStatus: EXIT.environment,
    });
  }

  /** Signs with the throwaway keys, uploads and publishes. The server's own refusals are Faults, with its code. */
  async publish(
    release: PreflightRelease,
    upload: (component: string, sizeBytes: number) => { update(done: number): void; finish(): void },
  ): Promise<void> {
    const { content, files } = release;
    const { envelope, targets } = await this.#repository.sign(content);
    const envelopePath = join(this.#directory, 'release.suit');
    await writeDurably(nodeDisk, envelopePath, envelope, 0o644);
    await this.#give({ path: envelopePath, sizeBytes: envelope.length, sha256: sha256Hex(envelope) });
    for (const { component, blockMap, ...image } of content.images) {
      const paths = files.get(component);
      if (paths === undefined) throw new Error(`no file of component ${component}`);
      await this.#give({ path: paths.blockMap, ...blockMap });
      const progress = upload(component, image.sizeBytes);
      await this.#give({ path: paths.image, ...image }, (done) => progress.update(done));
      progress.finish();
    }
    await this.api.publish({ roots: [], targets });
  }

  /** Unless it has it: releases share images. */
  async #give(
    artifact: { readonly path: string; readonly sizeBytes: number; readonly sha256: string },
    onProgress?: (doneBytes: number) => void,
  ): Promise<void> {
    if (await this.api.hasArtifact(artifact.sha256, artifact.sizeBytes)) return;
    await this.api.putArtifact(artifact, onProgress);
  }

  /** Of every image: how far it is with the forms in which it travels. */
  async forms(): Promise<readonly TransportState[]> {
    return (await this.api.releases()).transport;
  }
}

async function lastingToken(access: { serverUrl: string; ca: string; token: string }): Promise<string> {
  const api = new ApiClient(access);
  try {
    return (await api.login('preflight')).token;
  } finally {
    api.close();
  }
}
