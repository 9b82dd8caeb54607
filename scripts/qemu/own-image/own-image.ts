/**
 * A maker's own disk image in the lab. It is never written: the lab works on a copy, replaces the factory's files in it
 * (whom to trust, and where the server is), and makes releases of its root file system.
 *
 * Invariant: between the maker's root file system and one of the lab's, exactly the files differ that are said to; each is
 * read back and compared, entry by entry.
 */
import { open, rm, stat, statfs } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { EXIT, Fault } from '../../../platform/fault.ts';
import { copySparse } from '../../device-image/disk.ts';
import { runProgram } from '../../programs.ts';
import { Ext4Tree } from '../../root-tree/ext4-tree.ts';
import { demandOnly, differences, type Replacements, type RootTree } from '../../root-tree/root-tree.ts';
import { endingProgram } from './arm64.ts';
import {
  claimOnData,
  type InspectedRoot,
  inspectBootScript,
  inspectKernel,
  inspectRoot,
  refuseUsed,
} from './inspection.ts';
import { configOfLab } from './maker-config.ts';
import { type DiskPartition, imageFault, readPartitionTable } from './partition-table.ts';
import { headOf, openRoot, openTree, putBack, takeOut } from './root-image.ts';
import { findPartition, type SlotPartitions, slotsOf } from './slot-layout.ts';

const MIB = 1024 * 1024;
const SCRIPT_CAP_BYTES = 1024 * 1024;
const HEAD_BYTES = 4096;
/** Copies of the disk that a run holds at once: its own, a device's, one that is looked at; and as much in releases. */
const COPIES = 5;
/** What the ceremony of a run says of itself; an agent takes no other root. */
const ENVIRONMENT = 'rehearsal';

/** Whom devices of the lab trust, and where their server is. */
export interface LabFactory {
  readonly root: Uint8Array;
  readonly anchors: Uint8Array;
  readonly url: string;
  readonly mqttUrl: string;
}

/** `fault`: '', 'panic' or 'agent-crash'; a maker's image can be made to fail in no other way. */
export interface OwnRelease {
  readonly version: string;
  readonly fault: string;
}

/** What the lab changed in a root file system. */
export interface Replaced {
  /** Paths as the device sees them. */
  readonly paths: readonly string[];
  /** Fields of agent.json that are not the maker's. */
  readonly configFields: readonly string[];
  /** Entries compared, all others being the same. */
  readonly compared: number;
}

interface Parts {
  readonly image: string;
  readonly folder: string;
  readonly disk: string;
  readonly root: RootTree;
  readonly rootComponent: string;
  readonly inspected: InspectedRoot;
  readonly slots: Readonly<Record<'a' | 'b', SlotPartitions>>;
  readonly data: DiskPartition;
  readonly claimPlace: string;
}

export class OwnImage {
  readonly #parts: Parts;
  /** The factory's root file system, of which releases are made. */
  #factoryRoot: RootTree | undefined;
  #factoryImages: ReadonlyMap<string, string> = new Map();
  #replaced: Replaced | undefined;

  private constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Copies the image into `folder` and looks at it. Throws a Fault for what the lab cannot do with it. */
  static async open(file: string, folder: string, say: (line: string) => void): Promise<OwnImage> {
    const image = resolve(file);
    const table = await readPartitionTable(image);
    await demandRoom(image, folder);
    const at = (name: string): string => join(folder, name);
    const disk = at('maker.raw');
    say(`a copy of ${image}, with ${table.length} partitions`);
    await copyUnused(image, disk);
    const partition = (part: Parameters<typeof findPartition>[2]) => findPartition(image, table, part);
    const [rootPartition, data] = [partition('root-a'), partition('data')];
    const readScript = async (path: string) => (await readAtMost(path, SCRIPT_CAP_BYTES)).toString('latin1');
    const root = await openRoot(image, disk, rootPartition, at('maker-root.img'));
    const init = await inspectBootScript(image, disk, partition('common'), at('boot.scr'), readScript);
    const inspected = await inspectRoot(image, root, init, folder);
    const slots = slotsOf(image, table, inspected.config);
    for (const boot of slots.a.values()) {
      if (boot !== rootPartition)
        await inspectKernel(image, disk, boot, at('kernel'), (path) => readAtMost(path, HEAD_BYTES));
    }
    await rm(at('kernel'), { force: true });
    const rootComponent = [...slots.a].find(([, { number }]) => number === rootPartition.number)?.[0];
    if (rootComponent === undefined) {
      const what = `agent.json has no slot a on partition ${rootPartition.number}, where the root file system is`;
      throw imageFault(image, 'slot-elsewhere', what);
    }
    const places = claimOnData(image, root.entries, inspected.config);
    if ((await headOf(disk, data))?.kind !== 'ext4') {
      const cure =
        'Make an ext4 file system on it when the image is built: the claim must lie there before the first boot.';
      throw imageFault(image, 'data-unknown', `the data partition ${data.number} holds no ext4`, cure);
    }
    refuseUsed(image, await Ext4Tree.open(at(`maker.raw?offset=${data.startBytes}`)), places.state);
    const parts = { image, folder, disk, root, rootComponent, inspected, slots, data, claimPlace: places.claim };
    return new OwnImage(parts);
  }

  get file(): string {
    return this.#parts.image;
  }

  get vendor(): string {
    return this.#parts.inspected.config.vendor;
  }

  get hardwareClass(): string {
    return this.#parts.inspected.config.hardwareClass;
  }

  get channel(): string {
    return this.#parts.inspected.config.channel;
  }

  get factory(): { readonly version: string; readonly sequence: number } {
    return this.#parts.inspected.config.factoryInstalled;
  }

  get slots(): Readonly<Record<'a' | 'b', SlotPartitions>> {
    return this.#parts.slots;
  }

  /** After `makeFactory`. */
  get replaced(): Replaced {
    if (this.#replaced === undefined) throw new Error('the factory has not made its image yet');
    return this.#replaced;
  }

  /** Puts the lab's factory files into the copy's slot a; answers what the slot then holds, by component. */
  async makeFactory(lab: LabFactory): Promise<ReadonlyMap<string, string>> {
    const { disk, folder, root, inspected, rootComponent, slots } = this.#parts;
    const { places } = inspected;
    const { text, changed } = configOfLab(inspected.configText, { ...lab, environment: ENVIRONMENT });
    const files = new Map([
      [places.config, { bytes: Buffer.from(text) }],
      [places.factoryRoot, { bytes: lab.root }],
      [places.anchors, { bytes: lab.anchors }],
    ]);
    const file = join(folder, 'factory-root.img');
    this.#factoryRoot = await this.#derive(root, file, files);
    this.#replaced = {
      paths: differences(root.entries, this.#factoryRoot.entries).map((path) => `/${path}`),
      configFields: changed,
      compared: root.entries.size,
    };
    await root.close();
    const images = new Map<string, string>();
    for (const [component, partition] of slots.a) {
      if (component === rootComponent) {
        await putBack(disk, partition, file);
        images.set(component, file);
        continue;
      }
      const image = join(folder, `factory-${component}.img`);
      await takeOut(disk, partition, partition.sizeBytes, image);
      images.set(component, image);
    }
    this.#factoryImages = images;
    return images;
  }

  /** The maker's images again, with one file more, or with what makes a release bad. */
  async imagesOf({ version, fault }: OwnRelease): Promise<ReadonlyMap<string, string>> {
    const { folder, inspected, rootComponent } = this.#parts;
    if (this.#factoryRoot === undefined) throw new Error('the factory comes first');
    const file = join(folder, `${version}-root.img`);
    const made = await this.#derive(this.#factoryRoot, file, replacementsFor(fault, version, inspected));
    await made.close();
    return new Map([...this.#factoryImages, [rootComponent, file]]);
  }

  /** A disk of the copy, with a claim on its data partition. */
  async makeDevice(outFile: string, claim: Uint8Array): Promise<void> {
    const { disk, data, claimPlace } = this.#parts;
    await copySparse(disk, outFile);
    const tree = await Ext4Tree.open(`${outFile}?offset=${data.startBytes}`);
    await tree.add(new Map([[claimPlace, { bytes: claim, mode: '600' }]]));
  }

  /** Throws when anything else differs afterwards, and a Fault when it no longer fits into a slot. */
  async #derive(from: RootTree, outFile: string, files: Replacements): Promise<RootTree> {
    const { image, rootComponent, slots } = this.#parts;
    await from.replace(outFile, files);
    const room = slots.b.get(rootComponent)?.sizeBytes ?? 0;
    const { size } = await stat(outFile);
    if (size > room) {
      const what = `with the lab's files the root file system has ${size} bytes, and the slot ${room}`;
      throw imageFault(
        image,
        'slot-too-small',
        what,
        'Leave room in the slots, a few percent at least: your next release will need it too.',
      );
    }
    const made = await openTree(from.kind, outFile);
    demandOnly(from.entries, made.entries, files);
    return made;
  }
}

function replacementsFor(fault: string, version: string, { places }: InspectedRoot): Replacements {
  if (fault === '') return new Map([[places.marker, { bytes: Buffer.from(`${version}\n`) }]]);
  if (fault === 'panic') return new Map([[places.init, { bytes: endingProgram(), mode: '755' }]]);
  if (fault === 'agent-crash') {
    return new Map([[places.agentBundle, { bytes: Buffer.from("throw new Error('this agent was built wrong');\n") }]]);
  }
  throw new Error(`a maker's image cannot be made to fail by ${fault}`);
}

/** A disk that somebody writes to has no content that could be copied: QEMU locks what it runs, and holds to it here too. */
async function copyUnused(image: string, disk: string): Promise<void> {
  const words = ['convert', '-f', 'raw', '-O', 'raw', image, disk];
  const inLoop = (await loopDevicesOf(image)) !== '';
  const { status, stderr } = inLoop ? { status: 1, stderr: 'lock' } : await runProgram('qemu-img', words);
  if (status === 0) return;
  if (/\block\b/.test(stderr)) {
    const what = 'the image is open elsewhere: in an emulator, or as a loop device';
    throw imageFault(image, 'image-in-use', what, 'End what uses it, or give a copy.');
  }
  throw imageFault(image, 'image-unreadable', `it cannot be copied: ${stderr.trim().split('\n').at(-1) ?? ''}`);
}

async function loopDevicesOf(image: string): Promise<string> {
  const { status, stdout } = await runProgram('losetup', ['--noheadings', '--output', 'NAME', '--associated', image], {
    env: { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` },
  });
  return status === 0 ? stdout.trim() : '';
}

async function demandRoom(image: string, folder: string): Promise<void> {
  const { blocks } = await stat(image);
  const needed = blocks * 512 * COPIES + 256 * MIB;
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize >= needed) return;
  throw new Fault({
    code: 'no-room',
    what: `the run may need ${Math.ceil(needed / MIB)} MiB, and there are ${Math.floor((bavail * bsize) / MIB)}`,
    where: folder,
    cure: 'Name a folder with more room: --dir FOLDER.',
    exitStatus: EXIT.environment,
  });
}

async function readAtMost(path: string, capBytes: number): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const bytes = Buffer.alloc(capBytes);
    const { bytesRead } = await file.read(bytes, 0, capBytes, 0);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
