/**
 * One device of the rotated fleet: a protocol client. Claim, enrolment, first boot, escrow, statement, renewal and TLS are
 * the agent's own code, on a disk in memory; only the loop around them is here, and it does what agent/run-loop.ts does.
 *
 * What it has of a device: a key, a machine-id, and a break-glass password of which its application keeps a SHA-256. What
 * it leaves out stands in docs/BENCHMARKS.md (sshd, /etc/shadow, slots, MQTT).
 */
import { createHash, createPrivateKey } from 'node:crypto';
import { SourceUnreachable } from '../../../agent/core/ports.ts';
import { CredentialTalk } from '../../../agent/credentials/credential-talk.ts';
import { enrol } from '../../../agent/credentials/enrolment.ts';
import { type Identity, identityPaths, readIdentity } from '../../../agent/credentials/identity.ts';
import { DeviceFiles } from '../../../agent/first-boot/device-files.ts';
import { OwnerEscrow } from '../../../agent/first-boot/escrow.ts';
import { type FileForms, SECRET_FORM } from '../../../agent/first-boot/file-form.ts';
import { FirstBoot } from '../../../agent/first-boot/first-boot.ts';
import { firstBootDirectory } from '../../../agent/first-boot/first-boot-record.ts';
import { readOwnerKeys } from '../../../agent/first-boot/owner-keys.ts';
import { DeviceKeyProvider } from '../../../agent/first-boot/providers/device-key.ts';
import { FileTemplate } from '../../../agent/first-boot/providers/file-template.ts';
import { MachineId } from '../../../agent/first-boot/providers/machine-id.ts';
import { retireIdentity } from '../../../agent/first-boot/retire-identity.ts';
import { kernelSecrets } from '../../../agent/first-boot/secret-source.ts';
import { EpochFolder } from '../../../agent/first-boot/staging.ts';
import type { ProviderWorld } from '../../../agent/first-boot/world.ts';
import { refreshTrustedRoot } from '../../../agent/obtain-release.ts';
import { systemClock } from '../../../agent/system-clock.ts';
import type { Requester } from '../../../agent/transport/https-channel.ts';
import { HttpsSource } from '../../../agent/transport/https-source.ts';
import { ServerLink } from '../../../agent/transport/server-link.ts';
import { type ServerEntry, ServerPool } from '../../../agent/transport/server-pool.ts';
import { AGENT_VERSION } from '../../../agent/version.ts';
import { sameSecret } from '../../../platform/same-secret.ts';
import type { StatementAnswer } from '../../../protocol/credentials-api.ts';
import type { PollAnswer } from '../../../protocol/device-api.ts';
import type { ClaimFile } from '../../../protocol/enrolment.ts';
import { utf8 } from '../../../trust/bytes.ts';
import { sha256Hex } from '../../../trust/crypto.ts';
import type { Verdict } from '../../../trust/refusal.ts';
import { SimulatedDisk } from '../../sim/simulated-disk.ts';

const DATA = '/data';
const ROOT = '/root';
const SECRET_PATH = '/etc/application/break-glass';
const TEMPLATE = '/usr/share/application/break-glass';
const OWNERS_FILE = '/factory/owners';
const ROOT_FILE = '/factory/root.json';
/** What every image of the class is shipped with. */
export const FACTORY_PASSWORD = 'admin';
export const SECRET_NAME = 'application-password:break-glass';
const NO_OWNERS_IN_ROOT = { holdfast: { escrowKeys: [] } } as unknown as Parameters<typeof readOwnerKeys>[1];
const SILENT = { info: () => {}, warn: () => {} };
const CLOCK = systemClock('host');
const OF_PRODUCT = {
  vendor: 'acme.example',
  hardwareClass: 'acme-cam',
  channel: 'stable',
  environment: 'lab',
} as const;

/** Where the power goes, in the rotation: the sealed blob is durable; the new secret is in effect; the server has the blob. */
export const CUTS = ['before-apply', 'mid-apply', 'before-statement'] as const;
export type Cut = (typeof CUTS)[number];

/** The power is gone: nothing runs any more, and no file is written. */
export class PowerCut extends Error {
  override readonly name = 'PowerCut';
}

export interface DeviceSettings {
  readonly claim: ClaimFile;
  readonly server: ServerEntry;
  /** As `holdfast escrow key show` prints them, one a line. */
  readonly ownersFile: string;
  /** Root metadata that its image trusts. */
  readonly rootFile: Uint8Array;
  /** Of one request: when it was answered, in milliseconds. */
  readonly onRequest: (path: string, tookMs: number) => void;
  readonly onJudged: (device: FleetDevice, epoch: number, verdict: StatementAnswer['verdict']) => void;
  /** In [0, 1): what a power cut leaves of what was not synced. */
  readonly random: () => number;
}

export class FleetDevice {
  readonly id: string;
  readonly #settings: DeviceSettings;
  readonly #pool: ServerPool;
  #disk = new SimulatedDisk();
  #identity: Identity | undefined;
  #talk: CredentialTalk | undefined;
  #boots = 0;
  #epoch = 0;
  #cut: Cut | undefined;
  /** Performance clock, when the secret of this epoch came into effect, and when the server had its blob. */
  appliedMs = 0;
  keptMs = 0;

  constructor(settings: DeviceSettings) {
    this.id = settings.claim.claimId;
    this.#settings = settings;
    this.#pool = new ServerPool([settings.server], { identity: () => this.#identity });
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** As agent/run-loop.ts: a rotation is left to the next boot once the newest root is here. */
  async owesReboot(): Promise<boolean> {
    return this.#talk?.rotationAsked === true && this.#talk.stageRotation();
  }

  /** What the maker's image brings, and the first boot on it: secrets of its own, before anything is said to anybody. */
  async leaveFactory(): Promise<void> {
    const files = {
      '/etc/passwd': 'root:x:0:0:root:/root:/bin/sh\n',
      '/etc/group': 'root:x:0:\n',
      '/etc/machine-id': '',
      [TEMPLATE]: '{{password:sha256}}\n',
      [SECRET_PATH]: `${sha256Hex(utf8(FACTORY_PASSWORD))}\n`,
    };
    for (const [path, text] of Object.entries(files)) await this.#disk.place(`${ROOT}${path}`, utf8(text));
    await this.#disk.place(OWNERS_FILE, utf8(this.#settings.ownersFile));
    await this.#disk.place(ROOT_FILE, this.#settings.rootFile);
    await this.#disk.makeDirectory(DATA);
    await this.#disk.syncDirectory('/');
    await this.boot();
  }

  /** Throws SourceUnreachable: the same again is right. */
  async enrol(): Promise<void> {
    const enrolled = await enrol(this.#disk, this.#settings.claim, this.#settings.server, identityPaths(DATA));
    if (!enrolled.ok) throw new Error(`${this.id}: ${enrolled.code}: ${enrolled.detail}`);
    this.#identity = enrolled.value;
  }

  /** The next boot, or the next statement, is cut there. */
  armCut(cut: Cut): void {
    this.#cut = cut;
  }

  /** What a reboot finds after a cut: anything that was not synced may be lost or torn. */
  powerBack(): void {
    this.#disk = this.#disk.cut('random', this.#settings.random);
  }

  /** The first boot, to open. Throws PowerCut where one was armed; anything but open is a failure of the bench. */
  async boot(): Promise<void> {
    this.#boots += 1;
    this.#armDisk();
    const disk = this.#disk;
    const bootId = `boot-${this.#boots}`;
    const world = worldOf(disk, bootId);
    const directory = firstBootDirectory(DATA);
    const deviceKey = new DeviceKeyProvider(world, { adopt: false });
    const firstBoot = new FirstBoot(
      {
        disk,
        providers: [deviceKey, new MachineId(world), new FileTemplate(world, BREAK_GLASS)],
        escrow: {
          seal: (secrets, binding) =>
            sealer(disk, deviceKey, directory, binding.epoch).then((by) => by.seal(secrets, binding)),
        },
        random: kernelSecrets(),
        hardware: async () => [
          { source: 'device-tree-serial', weight: 3, digest: sha256Hex(utf8(`board of ${this.id}`)) },
        ],
        boot: { bootId, slot: 'a', trial: false },
        release: { sequence: 1, version: '1.0.0' },
        retireIdentity: () => retireIdentity(disk, DATA),
        wipeApplicationData: async () => {},
        eraseFile: async () => {},
        log: SILENT,
      },
      { directory, deviceId: async () => this.id, requests: { own: `${directory}/request`, reset: null } },
    );
    const rest = await firstBoot.run();
    if (rest.rest !== 'open') throw new Error(`${this.id} did not open: ${rest.trouble.code}: ${rest.trouble.detail}`);
    if (rest.record.epoch > this.#epoch) this.appliedMs = performance.now();
    this.#epoch = rest.record.epoch;
    this.#identity = await readIdentity(disk, identityPaths(DATA));
    this.#pool.reconnect();
    this.#talk = this.#openTalk();
  }

  /** One poll and what it asks for. Throws SourceUnreachable, ServerSaidNo, or PowerCut. */
  async exchange(): Promise<PollAnswer> {
    const talk = this.#talk;
    if (talk === undefined) throw new Error(`${this.id} is not booted`);
    const answer = await new ServerLink(this.#server).poll({
      ...STATUS,
      quarantined: [],
      firstBoot: await talk.standing(),
    });
    if (!answer.ok) throw new SourceUnreachable(`${answer.code}: ${answer.detail}`);
    const spoken = await talk.follow(answer.value.requests, 'a');
    if (!spoken.ok) throw new SourceUnreachable(`${spoken.code}: ${spoken.detail}`);
    return answer.value;
  }

  /** As the agent does for a pause of more than half a minute. */
  closeIdle(): void {
    this.#pool.closeIdle();
  }

  close(): void {
    this.#pool.close();
  }

  /** What the device's application says to somebody who types this: it compares with the digest that it reads in its file. */
  accepts(text: string): boolean {
    const kept = Buffer.from(this.#textOf(`${ROOT}${SECRET_PATH}`).trim(), 'hex');
    const typed = createHash('sha256').update(text).digest();
    return sameSecret(kept, typed);
  }

  /** The sealed blobs that the data partition has. */
  ownBlobs(): Uint8Array[] {
    return [...this.#disk.contents()].flatMap(([path, bytes]) =>
      /^\/data\/first-boot\/escrow-\d+$/.test(path) ? [bytes] : [],
    );
  }

  /** The uncompressed point, 65 bytes: as an owner has it from the device's certificate. */
  publicKey(): Uint8Array {
    const pem = this.#textOf(identityPaths(DATA).key);
    const { x, y } = createPrivateKey(pem).export({ format: 'jwk' });
    return Buffer.concat([Buffer.of(4), Buffer.from(x ?? '', 'base64url'), Buffer.from(y ?? '', 'base64url')]);
  }

  /** For a fault that a test plants: its application now takes this and nothing else. */
  plantSecret(text: string): void {
    this.#disk.rot(`${ROOT}${SECRET_PATH}`, utf8(`${sha256Hex(utf8(text))}\n`));
  }

  #textOf(path: string): string {
    return new TextDecoder().decode(this.#disk.contentOf(path)?.bytes);
  }

  get #server(): Requester {
    return {
      description: this.#pool.description,
      request: async (asked) => {
        const askedMs = performance.now();
        const answer = await this.#pool.request(asked);
        this.#settings.onRequest(asked.path, performance.now() - askedMs);
        return answer;
      },
    };
  }

  #openTalk(): CredentialTalk {
    const link = new ServerLink(this.#server);
    return new CredentialTalk({
      disk: this.#disk,
      log: SILENT,
      link: {
        nonce: () => link.nonce(),
        escrow: async (epoch, note, blob) => {
          const answer = await link.escrow(epoch, note, blob);
          if (answer.ok && this.keptMs < this.appliedMs) this.keptMs = performance.now();
          return answer;
        },
        statement: (bytes, signature) => this.#state(link, bytes, signature),
        renew: (request) => link.renew(request),
      },
      dataDirectory: DATA,
      identityPaths: identityPaths(DATA),
      identity: () => this.#identity,
      becomes: (identity) => {
        this.#identity = identity;
        this.#pool.reconnect();
      },
      refreshRoot: () => {
        const ports = { disk: this.#disk, clock: CLOCK, log: SILENT, source: new HttpsSource(this.#server) };
        const settings = {
          device: { ...OF_PRODUCT, deviceId: this.id },
          stateDirectory: DATA,
          factoryRootPath: ROOT_FILE,
        };
        return refreshTrustedRoot(ports, settings);
      },
      // What is noted is tried again at the next poll; a fleet that waits for its root does not get done.
      notice: () => {},
    });
  }

  async #state(link: ServerLink, bytes: Uint8Array, signature: Uint8Array): Promise<Verdict<StatementAnswer>> {
    if (this.#cut === 'before-statement') this.#die();
    const answer = await link.statement(bytes, signature);
    if (answer.ok) this.#settings.onJudged(this, this.#epoch, answer.value.verdict);
    return answer;
  }

  #armDisk(): void {
    const cut = this.#cut;
    if (cut === undefined || cut === 'before-statement') return;
    this.#disk.afterOperation = ({ kind, path }) => {
      // The first record that any provider writes is the begin of apply; the rename is what takes the new one into effect.
      const isHere =
        cut === 'before-apply'
          ? kind === 'create' && path.startsWith(`${DATA}/credentials/`)
          : kind === 'rename' && path.startsWith(`${ROOT}${SECRET_PATH}`);
      if (isHere) this.#die();
    };
  }

  #die(): never {
    this.#cut = undefined;
    const dead = (): never => {
      throw new PowerCut(this.id);
    };
    this.#disk.afterOperation = () => {};
    this.#disk.fault = dead;
    this.#pool.reconnect();
    return dead();
  }
}

const STATUS = {
  agentVersion: AGENT_VERSION,
  hardwareClass: 'acme-cam',
  channel: 'stable',
  board: 'emulated',
  bootedSlot: 'a',
  state: 'idle',
  stateSinceUnixMs: null,
  installed: { sequence: 1, version: '1.0.0' },
  floorSequence: 0,
  actionId: null,
  waiting: null,
} as const;

const BREAK_GLASS = {
  name: 'break-glass',
  kind: 'application-password',
  files: [{ template: TEMPLATE, path: SECRET_PATH, owner: 'root', group: 'root', mode: 0o600 }],
  escrow: true,
  checkNew: null,
  checkOldRefused: null,
} as const;

function worldOf(disk: SimulatedDisk, bootId: string): ProviderWorld {
  const exists = (path: string): boolean => disk.contentOf(path) !== undefined;
  const forms: FileForms = {
    read: async (path) => (exists(path) ? SECRET_FORM : undefined),
    set: async () => {},
    has: async (path) => exists(path),
  };
  return {
    disk,
    files: new DeviceFiles(disk, { root: ROOT, dataDirectory: DATA, way: 'in-place' }, undefined, forms),
    run: async (file) => {
      throw new Error(`a protocol client runs no program: ${file}`);
    },
    dataDirectory: DATA,
    scratchDirectory: '/run',
    ownerKeys: [],
    nowUnixMs: () => Date.now(),
    bootId: async () => bootId,
  };
}

/** As agent/first-boot/wiring.ts: owners from the factory's file, signed with the key that this epoch staged. */
async function sealer(
  disk: SimulatedDisk,
  deviceKey: DeviceKeyProvider,
  directory: string,
  epoch: number,
): Promise<OwnerEscrow> {
  const staging = new EpochFolder(disk, directory).staging(epoch, deviceKey.name);
  return new OwnerEscrow({
    ownerKeys: await readOwnerKeys(disk, NO_OWNERS_IN_ROOT, OWNERS_FILE),
    deviceKey: async () => {
      const pem = await deviceKey.stagedKey(staging);
      return pem === undefined ? undefined : createPrivateKey(pem);
    },
  });
}
