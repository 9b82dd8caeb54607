/** The person of the rotated fleet: the real command line against the real server, every answer as `--json` gives it. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ClaimBatch, ClaimFile } from '../../../protocol/enrolment.ts';
import type { RotationView } from '../../../protocol/operator-api.ts';
import { needProgram, type ProgramResult, runProgram } from '../../../scripts/programs.ts';
import type { LabServer } from '../running-fleet.ts';

/** A batch of the production line. */
const BATCH = 1000;
const IMAGE_BYTES = 256 * 1024;

export interface RotationOrder {
  readonly waves: string;
  readonly soak: string;
  readonly timeout: string;
}

export class Operator {
  readonly #program: string;
  readonly #home: string;

  /** `home` is made. */
  constructor(projectRoot: string, home: string) {
    this.#program = join(projectRoot, 'bin/holdfast');
    this.#home = home;
  }

  async login(server: LabServer): Promise<void> {
    await mkdir(this.#home, { recursive: true, mode: 0o700 });
    await needProgram(this.#program, ['login', '--server', server.operatorUrl, '--ca', server.serverCa], {
      env: { HOLDFAST_HOME: this.#home },
      input: server.oneTimeToken,
    });
  }

  async claims(count: number): Promise<ClaimFile[]> {
    const all: ClaimFile[] = [];
    for (let batch = 0; all.length < count; batch += 1) {
      const file = join(this.#home, `batch-${batch}.json`);
      const size = String(Math.min(BATCH, count - all.length));
      const words = ['--class', 'acme-cam', '--prefix', `cam-${String(batch).padStart(3, '0')}-`, '--count', size];
      await this.#need('devices', 'claims', ...words, '--file', file);
      const { claims }: ClaimBatch = JSON.parse(await readFile(file, 'utf8'));
      all.push(...claims);
    }
    return all;
  }

  /** An update for these devices and no others: what is withheld from those that owe a rotation. */
  async offerUpdate(deviceIds: readonly string[]): Promise<void> {
    const image = join(this.#home, 'rootfs.img');
    await writeFile(image, Buffer.alloc(IMAGE_BYTES, 'an update '));
    const [first = '', ...others] = deviceIds;
    // Waits for a boot that these clients never do; the release and its rollout stand all the same.
    await this.#run('dev', 'push', image, '--device', first, '--timeout', '1s');
    if (others.length === 0) return;
    const { releases } = (await this.#need('release', 'list')) as { releases: { releasePath: string }[] };
    const named = others.flatMap((id) => ['--device', id]);
    await this.#need(
      'rollout',
      'start',
      releases[0]?.releasePath ?? '',
      '--waves',
      '100%',
      '--timeout',
      '12h',
      ...named,
    );
  }

  async rotate({ waves, soak, timeout }: RotationOrder): Promise<RotationView> {
    const plan = ['--waves', waves, '--soak', soak, '--timeout', timeout];
    return (await this.#need('credentials', 'rotate', '--all', ...plan, '--why', 'yearly')).rotation as RotationView;
  }

  async rotation(rotationId: string): Promise<RotationView> {
    return (await this.#need('credentials', 'status', rotationId)).rotation as RotationView;
  }

  /** How many stand as `proven`, as `factory`, … */
  async standings(): Promise<Readonly<Record<string, number>>> {
    return (await this.#need('credentials', 'status')).standings as Record<string, number>;
  }

  /** By name, those that have not proven rotation. */
  async factoryDevices(): Promise<number> {
    return ((await this.#need('devices', 'list', '--factory')).devices as unknown[]).length;
  }

  /** The whole way that a person has to a blob. It has the device rotated again. */
  async fetchEscrow(deviceId: string): Promise<Uint8Array> {
    const file = join(this.#home, `${deviceId}.sealed`);
    const { request } = (await this.#need('escrow', 'request', deviceId, '--reason', 'a check')) as {
      request: { requestId: string };
    };
    await this.#need('escrow', 'approve', request.requestId);
    await this.#need('escrow', 'fetch', deviceId, '--out', file);
    return new Uint8Array(await readFile(file));
  }

  /** The number of entries; throws when the chain is broken, for the command then ends with another status than 0. */
  async verifyAudit(): Promise<number> {
    return (await this.#need('audit', 'verify')).entries as number;
  }

  async #need(...words: string[]): Promise<Record<string, unknown>> {
    const { stdout } = await needProgram(this.#program, [...words, '--json'], { env: { HOLDFAST_HOME: this.#home } });
    return JSON.parse(stdout);
  }

  #run(...words: string[]): Promise<ProgramResult> {
    return runProgram(this.#program, [...words, '--json'], { env: { HOLDFAST_HOME: this.#home } });
  }
}
