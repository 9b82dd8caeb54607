/** What a maker's image must have for the lab, each with its own fault; nothing is changed here. */
import { dirname, join } from 'node:path';
import { AGENT_BUNDLE } from '../../device-image/device-base.ts';
import { IMAGE_TOOL_ENV } from '../../images/ext4-image.ts';
import { runProgram } from '../../programs.ts';
import type { Ext4Tree } from '../../root-tree/ext4-tree.ts';
import { placeIn, type RootTree, resolveIn, type TreeEntries } from '../../root-tree/root-tree.ts';
import { ELF_HEADER_BYTES, foreignProgram, isArm64Kernel } from './arm64.ts';
import { CONFIG_CAP_BYTES, CONFIG_PATH, type MakerConfig, readMakerConfig } from './maker-config.ts';
import { type DiskPartition, imageFault } from './partition-table.ts';

/** A line of the shipped boot script; the lab waits for what it prints. */
const SHIPPED = ' attempts left after this one';
const PROGRAM_CAP_BYTES = 256 * 1024 * 1024;
const PACKAGING = 'Put the agent into the image as docs/PACKAGING.md, "In an image", says.';

/** The places in the root file system that the lab replaces files at. */
export interface RootPlaces {
  readonly config: string;
  readonly factoryRoot: string;
  readonly anchors: string;
  readonly agentBundle: string;
  readonly init: string;
  /** A file that there is not yet. */
  readonly marker: string;
}

export interface InspectedRoot {
  readonly config: MakerConfig;
  readonly configText: string;
  readonly places: RootPlaces;
}

/** `folder`: for what another program has to read. */
export async function inspectRoot(
  image: string,
  root: RootTree,
  initPath: string,
  folder: string,
): Promise<InspectedRoot> {
  const { entries } = root;
  const agentBundle = resolveIn(entries, AGENT_BUNDLE);
  if (agentBundle === undefined)
    throw imageFault(image, 'agent-missing', `the image has no /${AGENT_BUNDLE}`, PACKAGING);
  const configPlace = resolveIn(entries, CONFIG_PATH);
  if (configPlace === undefined)
    throw imageFault(image, 'config-missing', `the image has no ${CONFIG_PATH}`, PACKAGING);
  const configText = new TextDecoder().decode(await root.read(configPlace, CONFIG_CAP_BYTES));
  const config = await readMakerConfig(configText, folder);
  const place = (path: string): string => {
    const found = resolveIn(entries, path) ?? placeIn(entries, path);
    if (found !== undefined) return found;
    throw imageFault(
      image,
      'factory-file-elsewhere',
      `agent.json names ${path}, whose folder the slot does not have`,
      PACKAGING,
    );
  };
  const init = placeIn(entries, initPath);
  if (init === undefined || resolveIn(entries, initPath) === undefined) {
    throw imageFault(
      image,
      'init-missing',
      `the root file system has no ${initPath}`,
      'Give it an init; or name it with init= in holdfast_args.',
    );
  }
  await refuseForeign(image, root, initPath);
  await refuseForeign(image, root, '/usr/lib/holdfast/node');
  const marker = join(dirname(configPlace), 'lab-release');
  const places = {
    config: configPlace,
    factoryRoot: place(config.factoryRoot),
    anchors: place(config.server.anchorsFile),
    agentBundle,
    init,
    marker,
  };
  return { config, configText, places };
}

async function refuseForeign(image: string, root: RootTree, path: string): Promise<void> {
  const place = resolveIn(root.entries, path);
  if (place === undefined || root.entries.get(place)?.kind !== 'file') return;
  const head = (await root.read(place, PROGRAM_CAP_BYTES)).subarray(0, ELF_HEADER_BYTES);
  const foreign = foreignProgram(head);
  if (foreign === undefined) return;
  const cure = 'The emulated board is 64-bit Arm: build the image for arm64 (aarch64).';
  throw imageFault(image, 'architecture-foreign', `${path} is for ${foreign}`, cure);
}

/** Reads one file of a FAT partition; undefined when there is none. */
async function fromFat(disk: string, { startBytes }: DiskPartition, name: string, outFile: string): Promise<boolean> {
  const words = ['-n', '-i', `${disk}@@${startBytes}`, `::${name}`, outFile];
  return (await runProgram('mcopy', words, { env: IMAGE_TOOL_ENV })).status === 0;
}

/** The init that the boot script names for the kernel, or the usual one. */
export async function inspectBootScript(
  image: string,
  disk: string,
  common: DiskPartition,
  outFile: string,
  readScript: (file: string) => Promise<string>,
): Promise<string> {
  const found =
    (await fromFat(disk, common, 'boot.scr', outFile)) || (await fromFat(disk, common, 'boot/boot.scr', outFile));
  const where = `partition ${common.number}`;
  if (!found) {
    const cure =
      'Compile agent/boards/u-boot/boot.cmd onto a FAT partition that is in no slot: docs/BOARDS.md, "u-boot".';
    throw imageFault(image, 'boot-script-missing', `${where} has no boot.scr that can be read`, cure);
  }
  const script = await readScript(outFile);
  if (!script.includes(SHIPPED)) {
    const cure = 'Use agent/boards/u-boot/boot.cmd as it is shipped; a board sets variables before it.';
    throw imageFault(image, 'boot-script-foreign', `boot.scr of ${where} is not Holdfast's boot script`, cure);
  }
  if (!/setenv holdfast_save /.test(script)) {
    const cure =
      'The emulated U-Boot has no environment of its own that Linux reaches: put scripts/device-image/board/environment.cmd before boot.cmd (docs/QEMU.md).';
    throw imageFault(image, 'boot-environment-missing', `boot.scr of ${where} sets no holdfast_save`, cure);
  }
  return /\binit=(\/[^\s"']+)/.exec(script)?.[1] ?? '/sbin/init';
}

/** Where the slot's boot partition has an `Image`, it must be a kernel for this board. Other names are the maker's business. */
export async function inspectKernel(
  image: string,
  disk: string,
  boot: DiskPartition,
  outFile: string,
  readHead: (file: string) => Promise<Uint8Array>,
): Promise<void> {
  if (!(await fromFat(disk, boot, 'Image', outFile))) return;
  if (isArm64Kernel(await readHead(outFile))) return;
  const cure = 'booti takes an uncompressed arm64 kernel (arch/arm64/boot/Image).';
  throw imageFault(image, 'architecture-foreign', 'the file Image of slot a is no kernel for 64-bit Arm', cure);
}

/**
 * Where on the data partition the claim goes: the longest part of its path that is an empty folder in the slot is where
 * the partition is mounted.
 */
export function claimOnData(
  image: string,
  entries: TreeEntries,
  { claimFile, dataDirectory }: MakerConfig,
): { claim: string; state: string } {
  const mount = mountOf(entries, claimFile);
  if (mount === undefined || !dataDirectory.startsWith(`${mount}/`)) {
    const cure =
      'Let claimFile and dataDirectory name places on the data partition, and leave the folder empty on which it is mounted (docs/PACKAGING.md).';
    throw imageFault(
      image,
      'data-elsewhere',
      `no empty folder of the slot leads to both ${claimFile} and ${dataDirectory}`,
      cure,
    );
  }
  return { claim: claimFile.slice(mount.length + 1), state: dataDirectory.slice(mount.length + 1) };
}

function mountOf(entries: TreeEntries, path: string): string | undefined {
  for (let folder = dirname(path); folder !== '/'; folder = dirname(folder)) {
    const place = resolveIn(entries, folder);
    if (place === undefined) continue;
    const isEmpty =
      entries.get(place)?.kind === 'folder' && ![...entries.keys()].some((one) => one.startsWith(`${place}/`));
    return isEmpty ? folder : undefined;
  }
  return undefined;
}

/** A device of the lab begins as the factory leaves it. */
export function refuseUsed(image: string, data: Ext4Tree, state: string): void {
  if (![...data.entries.keys()].some((path) => path.startsWith(`${state}/`))) return;
  const cure = 'Give the disk as it was built, or remove what the agent wrote.';
  throw imageFault(
    image,
    'device-not-fresh',
    `the data partition has the state of a device that has run, in ${state}`,
    cure,
  );
}
