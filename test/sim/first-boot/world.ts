/**
 * A device of three credentials on the simulated disk: what is in its slots, what its providers do with real files, an
 * escrow that really encrypts, and its life from the factory to another board, one boot after the other.
 *
 * What is in effect at a boot is the slot's file, unless this boot bound the data partition's file over it: a mount is
 * gone with the power.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import type { CredentialProvider, Escrow, HardwareTrait, SecretSource } from '../../../agent/core/first-boot-ports.ts';
import type { FirstBootPorts } from '../../../agent/first-boot/effects.ts';
import { FirstBoot, type FirstBootRest, type FirstBootSettings } from '../../../agent/first-boot/first-boot.ts';
import { retireIdentity } from '../../../agent/first-boot/retire-identity.ts';
import { writeDurably } from '../../../platform/durable-file.ts';
import type { CredentialEntry } from '../../../protocol/credentials.ts';
import { SimulatedDisk } from '../simulated-disk.ts';

const DATA = '/data';
export const DIRECTORY = `${DATA}/first-boot`;
export const RESET_REQUEST = '/boot/holdfast-reset';
export const APPLICATION = '/data/application';
/** Never wiped by anything that the first boot does. */
export const KEPT = ['/data/metadata/root.json', '/data/counters.0', '/data/quarantine.0'] as const;
export const IDENTITY = ['/data/identity/device.key', '/data/identity/device.crt'] as const;

const text = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : new TextDecoder().decode(bytes);
const bytesOf = (value: string): Uint8Array => new TextEncoder().encode(value);
export const hashOf = (value: string): string => createHash('sha256').update(value).digest('hex');

/** How a consumer keeps a secret: as it is, or as a hash; in one file, or with a public part in another. */
export interface CredentialKindOfTest {
  readonly name: string;
  readonly form: 'hash' | 'plain' | 'pair';
  readonly escrowed: boolean;
}

export const CREDENTIALS: readonly CredentialKindOfTest[] = [
  { name: 'password:root', form: 'hash', escrowed: true },
  { name: 'ssh-host-key:ed25519', form: 'pair', escrowed: false },
  { name: 'access-point-passphrase', form: 'plain', escrowed: true },
];

/** Files of one credential: in the slot, staged, and on the data partition under the same names. */
export function fileNames({ name, form }: CredentialKindOfTest): readonly string[] {
  const plain = name.replace(':', '-');
  return form === 'pair' ? [plain, `${plain}.pub`] : [plain];
}

/** What stands in these files for a secret. The epoch stands before it, so that the simulation can tell them apart. */
export function contentsOf(kind: CredentialKindOfTest, epoch: number, secret: string): readonly string[] {
  if (kind.form === 'hash') return [`${epoch} ${hashOf(secret)}`];
  return kind.form === 'plain' ? [`${epoch} ${secret}`] : [`${epoch} ${secret}`, `${epoch} ${hashOf(secret)}`];
}

export type SlotName = 'a' | 'b';

/** One boot of the life. */
export interface Boot {
  readonly name: string;
  readonly slot: SlotName;
  readonly board: number;
  /** What happens to the device while it is off. */
  readonly before?: (disk: SimulatedDisk) => Promise<void>;
  /** At its end the epoch is a later one. */
  readonly renews: boolean;
  readonly resets?: boolean;
  readonly moves?: boolean;
}

export const LIFE: readonly Boot[] = [
  { name: 'factory', slot: 'a', board: 1, renews: true },
  { name: 'reboot', slot: 'a', board: 1, renews: false },
  { name: 'new slot with factory secrets', slot: 'b', board: 1, renews: false },
  {
    name: 'rotate',
    slot: 'b',
    board: 1,
    renews: true,
    before: (disk) => disk.place(`${DIRECTORY}/request`, bytesOf('rotate\n')),
  },
  {
    name: 'factory reset',
    slot: 'b',
    board: 1,
    renews: true,
    resets: true,
    before: (disk) => disk.place(RESET_REQUEST, bytesOf('')),
  },
  { name: 'other board', slot: 'b', board: 2, renews: true, moves: true },
  { name: 'rollback', slot: 'a', board: 2, renews: false },
  {
    name: 'record lost',
    slot: 'a',
    board: 2,
    renews: true,
    before: async (disk) => {
      for (const copy of [0, 1]) await disk.remove(`${DIRECTORY}/record.${copy}`);
      await disk.syncDirectory(DIRECTORY);
    },
  },
];

export async function factoryDisk(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  for (const slot of ['a', 'b'])
    for (const kind of CREDENTIALS)
      for (const name of fileNames(kind)) await disk.place(`/slots/${slot}/${name}`, bytesOf(`0 factory of ${slot}`));
  for (const path of [...KEPT, ...IDENTITY]) await disk.place(path, bytesOf(`kept: ${path}`));
  await disk.place(`${APPLICATION}/notes`, bytesOf('what a person wrote'));
  await disk.place('/data/own/placeholder', bytesOf(''));
  await disk.place('/boot/config.txt', bytesOf(''));
  return disk;
}

/** The files that one boot of the device sees in their places. */
export class Mounts {
  readonly #disk: SimulatedDisk;
  readonly slot: SlotName;
  readonly #bound = new Set<string>();

  constructor(disk: SimulatedDisk, slot: SlotName) {
    this.#disk = disk;
    this.slot = slot;
  }

  bind(name: string): void {
    this.#bound.add(name);
  }

  unbind(name: string): void {
    this.#bound.delete(name);
  }

  inEffect(name: string): string | undefined {
    const own = this.#bound.has(name) ? this.#disk.contentOf(`/data/own/${name}`) : undefined;
    return text((own ?? this.#disk.contentOf(`/slots/${this.slot}/${name}`))?.bytes);
  }
}

function provider(kind: CredentialKindOfTest, disk: SimulatedDisk, mounts: Mounts): CredentialProvider {
  const names = fileNames(kind);
  const own = (name: string): string => `/data/own/${name}`;
  const [first = ''] = names;
  const isFactory = (): boolean => names.some((name) => mounts.inEffect(name)?.startsWith('0 ') !== false);
  return {
    name: kind.name,
    async inspect(): Promise<readonly CredentialEntry[]> {
      const epoch = Number(mounts.inEffect(first)?.split(' ')[0] ?? 0);
      const state = isFactory() ? 'factory' : 'own';
      return [{ name: kind.name, kind: 'maker', state, epoch, fingerprint: null, madeUnixMs: null }];
    },
    async stage(staging, random) {
      const secret = Buffer.from(random.bytes(16)).toString('hex');
      for (const [index, content] of contentsOf(kind, staging.epoch, secret).entries())
        await staging.write(names[index] ?? '', bytesOf(content));
      return kind.escrowed ? [{ name: kind.name, text: secret }] : [];
    },
    async apply(staging) {
      for (const name of names) {
        const bytes = await staging.read(name, 4096);
        if (bytes === undefined) throw new Error(`${name} was not staged`);
        await writeDurably(disk, own(name), bytes);
        mounts.bind(name);
      }
    },
    async reconcile() {
      for (const name of names) if ((await disk.readFile(own(name), 4096)) !== undefined) mounts.bind(name);
    },
    async verifyNew() {
      const contents = names.map((name) => mounts.inEffect(name)?.split(' ') ?? []);
      const [[epoch, secret] = [], [otherEpoch, hash] = []] = contents;
      const fits = kind.form !== 'pair' || (epoch === otherEpoch && hashOf(secret ?? '') === hash);
      return fits ? { ok: true } : { ok: false, code: 'pair-wrong', detail: `${kind.name} does not fit together` };
    },
    async verifyOldRefused() {
      return isFactory() ? { ok: false, code: 'factory-accepted', detail: kind.name } : { ok: true };
    },
    async wipe() {
      for (const name of names) {
        mounts.unbind(name);
        await disk.remove(own(name));
        await disk.syncDirectory('/data/own');
      }
    },
  };
}

/** Sealed with a key that only the owner and this simulation have (AES-256-GCM); the real one is for owner keys. */
const OWNER_KEY = randomBytes(32);

const testEscrow: Escrow = {
  async seal(secrets, binding) {
    const nonce = hashOf(JSON.stringify([secrets, binding])).slice(0, 24);
    const cipher = createCipheriv('aes-256-gcm', OWNER_KEY, Buffer.from(nonce, 'hex'));
    cipher.setAAD(Buffer.from(`${binding.deviceId} ${binding.epoch}`));
    const sealed = Buffer.concat([cipher.update(JSON.stringify(secrets)), cipher.final()]);
    const blob = Buffer.concat([Buffer.from(nonce, 'hex'), cipher.getAuthTag(), sealed]);
    return { ok: true, blob: new Uint8Array(blob), owners: [hashOf('owner 1'), hashOf('owner 2')] };
  },
};

/** What an owner reads in a blob, by name; undefined when it is none of this epoch, torn or changed. */
export function openEscrow(blob: Uint8Array, epoch: number): ReadonlyMap<string, string> | undefined {
  try {
    const decipher = createDecipheriv('aes-256-gcm', OWNER_KEY, blob.subarray(0, 12));
    decipher.setAAD(Buffer.from(`device-1 ${epoch}`));
    decipher.setAuthTag(blob.subarray(12, 28));
    const plain = Buffer.concat([decipher.update(blob.subarray(28)), decipher.final()]).toString();
    const secrets: { name: string; text: string }[] = JSON.parse(plain);
    return new Map(secrets.map((secret) => [secret.name, secret.text]));
  } catch {
    return undefined;
  }
}

/** The same disk draws the same numbers, and another disk others: equal disks live equal lives. */
function drawnFrom(seed: string, drawn: string[]): SecretSource {
  let count = 0;
  return {
    bytes(length) {
      count += 1;
      const bytes = createHash('sha256').update(`${seed} ${count}`).digest().subarray(0, length);
      drawn.push(bytes.toString('hex'));
      return new Uint8Array(bytes);
    },
  };
}

function hardwareOf(board: number): HardwareTrait[] {
  return [
    { source: 'device-tree-serial', weight: 3, digest: hashOf(`serial of ${board}`) },
    // It was swapped in once, from the first board, and is no other board.
    { source: 'emmc-cid', weight: 2, digest: hashOf('eMMC') },
  ];
}

const SILENT = { info: () => {}, warn: () => {} };

export interface Running {
  readonly mounts: Mounts;
  readonly bootId: string;
  /** Every secret that was drawn in this run. */
  readonly drawn: string[];
  readonly ports: FirstBootPorts;
  readonly settings: FirstBootSettings;
  run(): Promise<FirstBootRest>;
}

/** `seed` should tell disks apart. `with` replaces ports, for scenarios of the unit tests. */
export function bootDevice(
  disk: SimulatedDisk,
  boot: Boot,
  { bootId, seed, ...more }: { bootId: string; seed: string } & Partial<FirstBootPorts>,
): Running {
  const mounts = new Mounts(disk, boot.slot);
  const drawn: string[] = [];
  const ports: FirstBootPorts = {
    disk,
    providers: CREDENTIALS.map((kind) => provider(kind, disk, mounts)),
    escrow: testEscrow,
    random: drawnFrom(seed, drawn),
    hardware: async () => hardwareOf(boot.board),
    boot: { bootId, slot: boot.slot, trial: false },
    release: boot.slot === 'a' ? { sequence: 1, version: '1.0.0' } : { sequence: 2, version: '2.0.0' },
    retireIdentity: () => retireIdentity(disk, DATA),
    wipeApplicationData: async () => {
      for (const name of await disk.list(APPLICATION)) await disk.remove(`${APPLICATION}/${name}`);
      await disk.syncDirectory(APPLICATION);
    },
    // What a removed file leaves in free blocks is not simulated.
    eraseFile: async () => {},
    log: SILENT,
    ...more,
  };
  const settings = {
    directory: DIRECTORY,
    deviceId: async () => 'device-1',
    requests: { own: `${DIRECTORY}/request`, reset: RESET_REQUEST },
  };
  return { mounts, bootId, drawn, ports, settings, run: () => new FirstBoot(ports, settings).run() };
}
