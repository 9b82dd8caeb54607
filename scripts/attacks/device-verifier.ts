/**
 * Puts a release to a device's own verifier: `holdfast-agent verify`, with the device's configuration and a throw-away
 * copy of its state. Nothing is installed; the device itself goes on undisturbed.
 */
import { randomUUID } from 'node:crypto';
import { cp, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { PROJECT_DIRECTORY } from '../images/demo-images.ts';
import { runProgram } from '../programs.ts';
import { accepted, refused, type Verified } from './attack.ts';
import type { TlsIdentity } from './certificates.ts';
import type { StolenRepository } from './stolen-repository.ts';
import { StolenServer, type StolenServerOptions } from './stolen-server.ts';

export interface VictimDevice {
  /** Its agent.json. */
  readonly config: string;
  /** Its data folder. */
  readonly data: string;
}

interface VerifyAnswer {
  readonly ok: boolean;
  readonly code?: string;
  readonly detail?: string;
  readonly what?: string;
}

function lastJson(text: string): VerifyAnswer | undefined {
  try {
    return JSON.parse(text.trim().split('\n').at(-1) ?? '');
  } catch {
    return undefined;
  }
}

/** The device goes on writing while it is copied: what verification does not read, and half-written files, stay behind. */
function belongsToTrust(path: string): boolean {
  const name = basename(path);
  return !name.endsWith('.new') && !['status.json', 'reports', 'identity'].includes(name);
}

export class DeviceVerifier {
  readonly #device: VictimDevice;
  readonly #workDirectory: string;

  constructor(device: VictimDevice, workDirectory: string) {
    this.#device = device;
    this.#workDirectory = workDirectory;
  }

  /** Serves the repository under that identity, and asks the device what it thinks of the release. */
  async verify(
    repository: StolenRepository,
    identity: TlsIdentity,
    releasePath: string,
    options: StolenServerOptions = {},
  ): Promise<Verified> {
    const server = await StolenServer.start(repository, identity, options);
    try {
      return await this.#ask(server.url, releasePath);
    } finally {
      await server.stop();
    }
  }

  async #ask(url: string, releasePath: string): Promise<Verified> {
    const state = join(this.#workDirectory, `state-${randomUUID()}`);
    await cp(this.#device.data, state, { recursive: true, filter: belongsToTrust });
    try {
      const args = [
        'verify',
        '--config',
        this.#device.config,
        '--state',
        state,
        '--server',
        url,
        '--release',
        releasePath,
        '--json',
      ];
      const { status, stdout, stderr } = await runProgram(join(PROJECT_DIRECTORY, 'bin/holdfast-agent'), args);
      const answer = lastJson(stdout);
      if (status === 0 && answer?.ok === true) return accepted();
      if (answer === undefined) return refused('', `status ${status}: ${stderr.trim().slice(-300)}`);
      return refused(answer.code ?? '', answer.detail ?? answer.what ?? '');
    } finally {
      await rm(state, { recursive: true, force: true });
    }
  }
}
