/**
 * Everything around the emulated boards of one run: a ceremony, the real server, releases that are built, signed,
 * published and rolled out with the published commands, and devices as their factory writes them.
 */
import { createHash, randomBytes } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import * as v from 'valibot';
import { type Process, ProcessGroup } from '../../platform/processes.ts';
import { TransportState } from '../../protocol/operator-api.ts';
import { claimPath, FleetWords } from '../demo/fleet-words.ts';
import { freePorts } from '../demo/free-ports.ts';
import { askUntil } from '../demo/patience.ts';
import type { Accelerator } from '../device-image/board.ts';
import { AGENT_BUNDLE, type DeviceBase } from '../device-image/device-base.ts';
import { makeDeviceDisk } from '../device-image/device-disk.ts';
import { BOOT, ROOT, SLOTS } from '../device-image/layout.ts';
import { makeRootImage } from '../device-image/root-image.ts';
import { type FitFiles, makeBootloaderKey } from '../device-image/signed-fit.ts';
import { type BoardFirmware, makeBoardFirmware, makeVerifiedImages } from '../device-image/verified-boot.ts';
import { PROJECT_DIRECTORY } from '../images/demo-images.ts';
import { IMAGE_TOOL_ENV } from '../images/ext4-image.ts';
import { needProgram } from '../programs.ts';
import type { SignedImages, SlotPlaces } from './booted-digest.ts';
import type { OwnImage } from './own-image/own-image.ts';

export const VENDOR = 'acme.example';
export const HARDWARE_CLASS = 'acme-cam';
const CHANNEL = 'stable';
const STICK_KIB = 256 * 1024;
/** This machine's loopback, as QEMU's user network shows it to a guest. */
const HOST_FOR_GUESTS = '10.0.2.2';

/** Of the server's folder, what changes with what it hears. Images only ever join. */
const SERVER_KNOWLEDGE = ['db.sqlite', 'metadata'];
/** Of a database that was not closed. */
const SERVER_LEFTOVERS = ['db.sqlite-wal', 'db.sqlite-shm'];

const FORMS_LIMIT_MS = 900_000;

const Ready = v.object({ event: v.literal('ready'), oneTimeToken: v.nullable(v.string()) });

/** What a release does instead of working; empty: it works (scripts/device-image/small/). */
export type ReleaseFault = '' | 'panic' | 'hang' | 'mute' | 'unhealthy' | 'checked' | 'agent-crash';

export interface DeviceOptions {
  /** Releases that look at the sensor (`checked`) fail on this device. */
  readonly brokenSensor?: boolean;
  /** Its data partition is full at its second start, and emptied at its third. */
  readonly fills?: boolean;
  /** In slot a, in place of the factory's (makeVariant). */
  readonly rootImage?: string;
}

/** What an image has beside, or instead of, what every image of the lab has. Paths are those of the image. */
export interface ImageVariant {
  readonly files: Readonly<Record<string, string>>;
  readonly without: readonly string[];
}

const NO_VARIANT: ImageVariant = { files: {}, without: [] };

export interface LabRelease {
  readonly version: string;
  readonly sequence: number;
  readonly fault: ReleaseFault;
}

export interface PublishedRelease extends LabRelease, SignedImages {
  readonly path: string;
}

interface ReleaseNames {
  readonly vendor: string;
  readonly hardwareClass: string;
  readonly channel: string;
}

/** What every device of the lab leaves the factory with. */
export const FACTORY_RELEASE: LabRelease = { version: '1.0.0', sequence: 1, fault: '' };

export interface WorldParts {
  /** What the lab's devices are made of, unless `own` is given. */
  readonly base?: DeviceBase;
  /** A maker's image: devices and releases are made of it. */
  readonly own?: OwnImage;
  readonly accelerator: Accelerator;
  readonly say: (line: string) => void;
  /** Each slot is verified when it boots; `base` must have been made so. */
  readonly verified: boolean;
  /** In every image, in place of the packaged agent's bundle. */
  readonly agentFile?: string;
}

export class World {
  readonly directory: string;
  readonly own: OwnImage | undefined;
  readonly accelerator: Accelerator;
  readonly words: FleetWords;
  readonly #processes = new ProcessGroup();
  readonly #say: (line: string) => void;
  readonly #base: DeviceBase | undefined;
  readonly #verified: boolean;
  readonly #agentFile: string | undefined;
  #ports = { device: 0, operator: 0, mqtt: 0 };
  #server: Process | undefined;
  #sequence: number;
  /** What every board is given beside its disk, when slots are verified. */
  firmware: BoardFirmware | undefined;
  /** What every device has in slot a. */
  factory: SignedImages;

  private constructor(directory: string, { base, own, accelerator, say, agentFile, verified }: WorldParts) {
    this.#verified = verified;
    this.#agentFile = agentFile;
    this.directory = directory;
    this.#base = base;
    this.own = own;
    this.accelerator = accelerator;
    const { version, sequence } = own?.factory ?? FACTORY_RELEASE;
    this.#sequence = sequence;
    this.factory = { version, images: new Map() };
    this.#say = say;
    this.words = new FleetWords(this.path('operator'));
  }

  /** A ceremony, a server that runs, and the release that leaves the factory. `directory` must be empty. */
  static async open(directory: string, parts: WorldParts): Promise<World> {
    const world = new World(directory, parts);
    const [device = 0, operator = 0, mqtt = 0] = await freePorts(3);
    world.#ports = { device, operator, mqtt };
    for (const name of ['images', 'releases', 'devices', 'claims']) await mkdir(world.path(name), { mode: 0o700 });
    try {
      await world.#holdCeremony();
      await world.startServer();
      await world.#writeFactoryFiles();
      if (parts.verified) await world.#makeBootloader();
      world.factory = await world.#makeFactory();
      return world;
    } catch (error) {
      await world.close();
      throw error;
    }
  }

  /** Who devices are for. */
  get product(): ReleaseNames {
    return this.own ?? { vendor: VENDOR, hardwareClass: HARDWARE_CLASS, channel: CHANNEL };
  }

  /** Whether devices say on their console how systemd's units are. */
  get saysUnits(): boolean {
    return this.#base?.userspace.hasSystemd === true;
  }

  /** Kernel and initial RAM disk of the lab's devices. */
  get fitFiles(): FitFiles {
    return { kernel: this.#labBase.kernelFile, ramDisk: this.#labBase.ramDisk };
  }

  get slots(): Readonly<Record<'a' | 'b', SlotPlaces>> {
    return this.own?.slots ?? SLOTS;
  }

  /** Of the owners to whom devices seal; with `passphrase` beside them. */
  get ownerKeys(): readonly string[] {
    return ['owner-1', 'owner-2'].map((name) => this.path(`${name}.escrow-key`));
  }

  path(...names: string[]): string {
    return join(this.directory, ...names);
  }

  async close(): Promise<void> {
    await this.#processes.stopAll();
  }

  /** First start, or after `stopServer`. */
  async startServer(): Promise<void> {
    const first = this.#server === undefined;
    const { device, operator, mqtt } = this.#ports;
    const args = ['run', '--data', this.path('server'), ...(first ? ['--keys', this.path('ceremony/server')] : [])];
    args.push('--device-port', String(device), '--operator-port', String(operator), '--mqtt-port', String(mqtt));
    args.push('--name', 'localhost', HOST_FOR_GUESTS, '--poll-after-ms', '3000', '--tick-ms', '500');
    args.push('--log-level', 'warn', '--json');
    const file = join(PROJECT_DIRECTORY, 'bin/holdfast-server');
    this.#server = this.#processes.start({ name: 'holdfast-server', file, args, logFile: this.path('server.log') });
    const { oneTimeToken } = v.parse(Ready, await this.#server.firstLine());
    if (oneTimeToken === null) return;
    await writeFile(this.path('token'), `${oneTimeToken}\n`, { mode: 0o600 });
    const words = ['login', '--server-data', this.path('server'), '--token-file', this.path('token'), '--name', 'lab'];
    await this.words.holdfast(words, { quiet: true });
  }

  get devicePort(): number {
    return this.#ports.device;
  }

  /** The dashboard. */
  get pageUrl(): string {
    return `https://localhost:${this.#ports.operator}/`;
  }

  async stopServer(): Promise<void> {
    await this.#server?.stop();
  }

  /** Keeps what the server knows at this moment, for `rewindServer`. */
  async keepServer(): Promise<void> {
    await this.stopServer();
    for (const name of SERVER_KNOWLEDGE) {
      await cp(this.path('server', name), this.path('server-kept', name), { recursive: true });
    }
    await this.startServer();
  }

  /** The server knows again what it knew then, and nothing of what devices told it since. */
  async rewindServer(): Promise<void> {
    await this.stopServer();
    for (const name of SERVER_KNOWLEDGE) {
      await rm(this.path('server', name), { recursive: true, force: true });
      await cp(this.path('server-kept', name), this.path('server', name), { recursive: true });
    }
    for (const name of SERVER_LEFTOVERS) await rm(this.path('server', name), { force: true });
    await this.startServer();
  }

  /** The next sequence: built, signed by its author and two people, published; given to nobody yet. */
  async publish(fault: ReleaseFault, variant: ImageVariant = NO_VARIANT): Promise<PublishedRelease> {
    this.#sequence += 1;
    // A maker may have a release of that number.
    const mark = this.own === undefined ? '' : '-lab';
    const release = { version: `${this.#sequence}.0.0${mark}`, sequence: this.#sequence, fault };
    this.#say(`release ${release.version}${fault === '' ? '' : ` (${fault})`}: built, signed, published`);
    const images = await this.#imagesOf(release, variant);
    const folder = this.path('releases', release.version);
    const { vendor, hardwareClass, channel } = this.product;
    const names = ['--vendor', vendor, '--class', hardwareClass, '--channel', channel, '--version', release.version];
    const files = [...images].flatMap(([component, file]) => ['--image', `${component}=${file}`]);
    const holdfast = (words: readonly string[]): Promise<unknown> => this.words.holdfast(words, { quiet: true });
    const sequence = ['--sequence', String(release.sequence)];
    await holdfast(['release', 'build', ...names, ...sequence, ...files, '--server', '--out', folder]);
    for (const key of [`author-${hardwareClass}/author.key`, 'person-1/targets.key', 'person-2/targets.key']) {
      const secrets = ['--key', this.path('ceremony', key), '--passphrase-file', this.path('passphrase')];
      await holdfast(['release', 'sign', folder, ...secrets]);
    }
    const { releasePath } = v.parse(
      v.object({ releasePath: v.string() }),
      await holdfast(['release', 'publish', folder]),
    );
    return { ...release, path: releasePath, images };
  }

  /** Waits until the server has made every form in which the release's images travel besides whole. */
  async waitForForms({ path }: Pick<PublishedRelease, 'path'>): Promise<void> {
    const made = await askUntil(FORMS_LIMIT_MS, 1000, async () => {
      const said = await this.words.holdfast(['release', 'show', path], { quiet: true });
      const { transport } = v.parse(v.object({ transport: v.array(TransportState) }), said);
      return transport.every(({ state }) => state === 'made' || state === 'failed') ? true : undefined;
    });
    if (made !== true) throw new Error(`the server has not made the forms of ${path} in ${FORMS_LIMIT_MS / 1000} s`);
  }

  /** Gives a release to devices, all at once; answers the rollout's id. */
  async rollOut(
    { path }: Pick<PublishedRelease, 'path'>,
    deviceIds: readonly string[],
    maxFailedPercent = 20,
  ): Promise<string> {
    const to = deviceIds.flatMap((id) => ['--device', id]);
    const pace = ['--waves', '100%', '--timeout', '60m', '--max-failed', `${maxFailedPercent}%`];
    const words = ['rollout', 'start', path, ...pace, ...to];
    const said = await this.words.holdfast(words, { quiet: true });
    return v.parse(v.object({ rollout: v.object({ rolloutId: v.string() }) }), said).rollout.rolloutId;
  }

  /** A disk with the factory's release in slot a, and a claim of its own; answers its path. */
  async makeDevice(deviceId: string, options: DeviceOptions): Promise<string> {
    await this.words.claims(this.product.hardwareClass, [deviceId], this.path('claims'), { quiet: true });
    const outFile = this.path('devices', `${deviceId}.raw`);
    const claim = claimPath(this.path('claims'), deviceId);
    if (this.own !== undefined) {
      await this.own.makeDevice(outFile, await readFile(claim));
      return outFile;
    }
    const { images } = this.factory;
    const { brokenSensor = false, fills = false, rootImage = imageOf(images, 'rootfs') } = options;
    await makeDeviceDisk({
      outFile,
      bootImage: imageOf(images, 'boot'),
      rootImage,
      claim,
      data: {
        ...(brokenSensor ? { '/factory/sensor-broken': '' } : {}),
        ...(fills ? { '/factory/fills': '' } : {}),
      },
    });
    return outFile;
  }

  /** A root file system of the factory's version, with other files; answers its path. Nobody signed it. */
  async makeVariant(name: string, { files, without }: ImageVariant): Promise<string> {
    const outFile = this.path('images', `${name}.squashfs`);
    const { version } = this.factory;
    const agent = this.#agentFile === undefined ? {} : { [AGENT_BUNDLE]: this.#agentFile };
    const all = { ...agent, ...files };
    await makeRootImage({
      base: this.#labBase,
      version,
      fault: '',
      factory: this.#factoryFiles,
      files: all,
      without,
      outFile,
    });
    return outFile;
  }

  /** The files that every image of the lab has, as a folder. */
  get tree(): string {
    return this.#labBase.tree;
  }

  /** Flips one bit in the server's copy of an image, and takes every packed form of it away. The server must be stopped. */
  async alterArtifact(image: string): Promise<void> {
    const bytes = await readFile(image);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const middle = bytes.length >> 1;
    bytes[middle] = (bytes[middle] ?? 0) ^ 1;
    await writeFile(this.path('server/artifacts', sha256.slice(0, 2), sha256), bytes);
    await rm(this.path('server/transport'), { recursive: true, force: true });
  }

  /** A FAT image of a stick with the release on it; answers its path. */
  async exportToStick(release: PublishedRelease): Promise<string> {
    const folder = this.path('stick');
    await this.words.holdfast(['release', 'export', release.path, '--out', folder], { quiet: true });
    const image = this.path('devices/stick.img');
    await rm(image, { force: true });
    await needProgram('mkfs.fat', ['-n', 'STICK', '-C', image, String(STICK_KIB)], { env: IMAGE_TOOL_ENV });
    const entries = (await readdir(folder)).map((name) => join(folder, name));
    await needProgram('mcopy', ['-s', '-i', image, ...entries, '::'], { env: IMAGE_TOOL_ENV });
    return image;
  }

  async #holdCeremony(): Promise<void> {
    this.#say('a ceremony of three people, a rehearsal');
    await writeFile(this.path('passphrase'), `${randomBytes(24).toString('base64url')}\n`, { mode: 0o600 });
    const { vendor, hardwareClass } = this.product;
    const words = ['keys', 'init', '--people', '3', '--dir', this.path('ceremony'), '--vendor', vendor];
    const secret = ['--class', hardwareClass, '--passphrase-file', this.path('passphrase')];
    await this.words.holdfast([...words, ...secret], { quiet: true });
  }

  /** A key of the maker's for its bootloaders, and the board's firmware that demands it. */
  async #makeBootloader(): Promise<void> {
    this.#say('a key for the bootloader, and firmware that demands it');
    const folder = this.path('bootloader');
    await makeBootloaderKey(folder);
    const { accelerator } = this;
    this.firmware = await makeBoardFirmware({ folder, keyFolder: folder, base: this.#labBase, accelerator });
  }

  /** What lies in /etc/holdfast of every release. */
  async #writeFactoryFiles(): Promise<void> {
    const { device, mqtt } = this.#ports;
    const slot = (letter: 'a' | 'b') => ({ boot: `/dev/vda${BOOT[letter]}`, rootfs: `/dev/vda${ROOT[letter]}` });
    const config = {
      format: 'holdfast-agent-1',
      vendor: VENDOR,
      hardwareClass: HARDWARE_CLASS,
      channel: CHANNEL,
      environment: 'rehearsal',
      board: { kind: 'u-boot', slots: { a: slot('a'), b: slot('b') }, goodSlotFile: '/boot/common/holdfast.good' },
      // Nobody sets this board's clock: what it says counts for nothing, as on a board without a battery.
      clock: 'timesyncd',
      dataDirectory: '/data/holdfast',
      factoryRoot: 'root.json',
      factoryInstalled: { sequence: FACTORY_RELEASE.sequence, version: FACTORY_RELEASE.version },
      claimFile: '/data/factory/claim.json',
      server: {
        url: `https://${HOST_FOR_GUESTS}:${device}`,
        mqttUrl: `mqtts://${HOST_FOR_GUESTS}:${mqtt}`,
        anchorsFile: 'server-ca.pem',
      },
      health: { directory: '/usr/lib/acme/health.d', deadlineMs: 60_000 },
      poll: { intervalMs: 5000 },
      trial: { serverWaitMs: 120_000, watchdogDevice: '/dev/watchdog' },
      retry: { baseMs: 500, capMs: 5000 },
      network: { metered: 'never' },
      ...(this.#base?.userspace.hasSystemd === true ? { firstBoot: FIRST_BOOT } : {}),
    };
    await mkdir(this.path('factory'));
    await writeFile(this.path('factory/owners'), await this.#makeOwners());
    await writeFile(this.path('factory/agent.json'), `${JSON.stringify(config, null, 2)}\n`);
    await writeFile(this.path('factory/root.json'), await readFile(this.path('ceremony/public/1.root.json')));
    await writeFile(this.path('factory/server-ca.pem'), await readFile(this.path('server/pki/server-ca.pem')));
  }

  /** Keys that devices seal to, and that the lab can open with (`ownerKeys`); their public halves, a line each. */
  async #makeOwners(): Promise<string> {
    // Nothing is sealed where there is no first boot.
    if (!this.saysUnits) return '';
    const secret = ['--passphrase-file', this.path('passphrase')];
    for (const path of this.ownerKeys) {
      const name = basename(path, '.escrow-key');
      await this.words.holdfast(['escrow', 'key', 'new', name, '--out', path, ...secret], { quiet: true });
    }
    return (await Promise.all(this.ownerKeys.map((path) => readFile(`${path}.pub`, 'utf8')))).join('');
  }

  async #makeFactory(): Promise<SignedImages> {
    if (this.own === undefined) {
      return { version: FACTORY_RELEASE.version, images: await this.#imagesOf(FACTORY_RELEASE) };
    }
    const { device, mqtt } = this.#ports;
    const images = await this.own.makeFactory({
      root: await readFile(this.path('factory/root.json')),
      anchors: await readFile(this.path('factory/server-ca.pem')),
      url: `https://${HOST_FOR_GUESTS}:${device}`,
      mqttUrl: `mqtts://${HOST_FOR_GUESTS}:${mqtt}`,
    });
    return { version: this.own.factory.version, images };
  }

  /** By component. */
  async #imagesOf(release: LabRelease, variant = NO_VARIANT): Promise<ReadonlyMap<string, string>> {
    if (this.own !== undefined) return this.own.imagesOf(release);
    const rootImage = await this.#makeRootImage(release, variant);
    const bootImage = this.#verified ? await this.#makeVerified(release, rootImage) : this.#labBase.bootImage;
    return new Map([
      ['boot', bootImage],
      ['rootfs', rootImage],
    ]);
  }

  get #labBase(): DeviceBase {
    if (this.#base === undefined) throw new Error('the devices are of a maker, not of the lab');
    return this.#base;
  }

  /** The boot image that verifies this root file system, to which its hash tree is appended. */
  async #makeVerified({ version }: LabRelease, rootImage: string): Promise<string> {
    const bootImage = this.path('images', `${version}.boot`);
    await makeVerifiedImages(this.#labBase, { rootImage, bootImage, keyFolder: this.path('bootloader') });
    return bootImage;
  }

  async #makeRootImage({ version, fault }: LabRelease, variant: ImageVariant): Promise<string> {
    const outFile = this.path('images', `${version}.squashfs`);
    const { without } = variant;
    const files: Record<string, string> = { ...variant.files };
    if (fault === 'agent-crash') {
      await writeFile(this.path('images/crash.mjs'), "throw new Error('this agent was built wrong');\n");
      files[AGENT_BUNDLE] = this.path('images/crash.mjs');
    } else if (this.#agentFile !== undefined) files[AGENT_BUNDLE] = this.#agentFile;
    await makeRootImage({ base: this.#labBase, version, fault, factory: this.#factoryFiles, files, without, outFile });
    return outFile;
  }

  get #factoryFiles(): string[] {
    return ['agent.json', 'root.json', 'server-ca.pem', 'owners'].map((name) => this.path('factory', name));
  }
}

/** Root can be let in by its owner alone. */
const FIRST_BOOT = { providers: { unixPasswords: { breakGlass: 'root' } }, escrow: { ownersFile: 'owners' } } as const;

/** Of a release's images. */
export function imageOf(images: ReadonlyMap<string, string>, component: string): string {
  const file = images.get(component);
  if (file === undefined) throw new Error(`the release has no image ${component}`);
  return file;
}
