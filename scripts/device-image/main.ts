/**
 * `npm run image`: a bootable disk for 64-bit Arm, with U-Boot's script, two slots, a data partition and the agent in its
 * own Debian package. The same inputs give the same bytes. See docs/QEMU.md.
 *
 *   npm run image -- --factory FOLDER --claim FILE --out DISK [--version TEXT] [--userspace NAME]
 *     [--slot-images FOLDER] [--verity KEYS] [--check-reproducible] [--json]
 */
import { existsSync } from 'node:fs';
import { access, copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { reportFailure } from '../../platform/command-line.ts';
import { EXIT, errorText, Fault } from '../../platform/fault.ts';
import { sha256OfFile } from '../file-digest.ts';
import { onAnotherDay } from './another-day.ts';
import type { DeviceBase, Userspace } from './device-base.ts';
import { makeDeviceDisk } from './device-disk.ts';
import { prepare, USERSPACES } from './prepare.ts';
import { makeRootImage } from './root-image.ts';
import { makeBootloaderKey } from './signed-fit.ts';
import { type BoardFirmware, makeBoardFirmware, makeVerifiedImages } from './verified-boot.ts';

const USAGE = `npm run image -- --factory FOLDER --claim FILE --out DISK [--version TEXT] [--userspace NAME] [--slot-images FOLDER] [--verity KEYS] [--check-reproducible] [--json]
  --factory FOLDER      agent.json, root.json and server-ca.pem, for /etc/holdfast
  --claim FILE          this device's claim (holdfast devices claims), for its data partition
  --out DISK            the disk to make: raw, GPT
  --version TEXT        what the image says it is (1.0.0)
  --userspace NAME      debian, with systemd, or small, as the lab has it (debian)
  --slot-images FOLDER  also put boot.img and rootfs.img there: what holdfast release build takes
  --verity KEYS         verified at each boot; KEYS holds the bootloader's key (made when it is not there), and gets the
                        board's device tree and flash that demand it
  --check-reproducible  make everything again with another date, and demand the same bytes (needs faketime)
  --json                print one JSON document`;
const FACTORY_FILES = ['agent.json', 'root.json', 'server-ca.pem'];

function usageFault(what: string): Fault {
  return new Fault({ code: 'usage', what, cure: USAGE, exitStatus: EXIT.usage });
}

function readOptions() {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  try {
    return parseArgs({
      options: {
        factory: text,
        claim: text,
        out: text,
        version: { type: 'string', default: '1.0.0' },
        userspace: { type: 'string', default: 'debian' },
        'slot-images': text,
        verity: text,
        'check-reproducible': flag,
        json: flag,
        debug: flag,
        help: flag,
      },
    }).values;
  } catch (error) {
    throw usageFault(errorText(error));
  }
}

async function demandFile(path: string, what: string): Promise<string> {
  try {
    await access(path);
    return path;
  } catch (cause) {
    throw new Fault({ code: 'file-missing', what, where: path, cure: USAGE, exitStatus: EXIT.input, cause });
  }
}

function userspaceOf(name: string): Userspace {
  const found = USERSPACES.find((one) => one.name === name);
  if (found !== undefined) return found;
  throw usageFault(`no userspace is called ${name}; there are ${USERSPACES.map((one) => one.name).join(', ')}`);
}

interface Made {
  readonly disk: string;
  readonly bootImage: string;
  readonly rootImage: string;
  /** Of a board that boots nothing but what the bootloader's key signed. */
  readonly firmware: BoardFirmware | undefined;
}

interface Inputs {
  readonly base: DeviceBase;
  readonly version: string;
  readonly factory: readonly string[];
  readonly claim: string;
  /** The bootloader's key; undefined: nothing is verified at boot. */
  readonly keyFolder: string | undefined;
}

interface Places {
  readonly disk: string;
  readonly slotImages: string;
  /** Folder for the board's firmware, when there is a key for it. */
  readonly firmware: string;
}

async function make({ base, version, factory, claim, keyFolder }: Inputs, places: Places): Promise<Made> {
  const { disk, slotImages } = places;
  await mkdir(slotImages, { recursive: true });
  await mkdir(dirname(disk), { recursive: true });
  const [bootImage, rootImage] = [join(slotImages, 'boot.img'), join(slotImages, 'rootfs.img')];
  await makeRootImage({ base, version, factory, outFile: rootImage });
  if (keyFolder === undefined) await copyFile(base.bootImage, bootImage);
  else await makeVerifiedImages(base, { rootImage, bootImage, keyFolder });
  await makeDeviceDisk({ outFile: disk, bootImage, rootImage, claim });
  if (keyFolder === undefined) return { disk, bootImage, rootImage, firmware: undefined };
  const firmware = await makeBoardFirmware({ folder: places.firmware, base, keyFolder, accelerator: 'tcg' });
  return { disk, bootImage, rootImage, firmware };
}

/** Everything once more, packages' files and the agent's package too, as if somebody else did it later; the key is the same. */
async function demandSameAgain(inputs: Omit<Inputs, 'base'>, userspace: Userspace, first: Made): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-image-'));
  const again = await onAnotherDay(async () => {
    const verified = inputs.keyFolder !== undefined;
    const base = await prepare({ userspace, verified, say: sayStep, place: join(folder, 'base') });
    return make({ ...inputs, base }, { disk: join(folder, 'disk.img'), slotImages: folder, firmware: folder });
  });
  const filesOf = ({ bootImage, rootImage, disk, firmware }: Made): Record<string, string> => ({
    bootImage,
    rootImage,
    disk,
    ...firmware,
  });
  const twins = filesOf(again);
  for (const [name, path] of Object.entries(filesOf(first))) {
    const twin = twins[name] ?? '';
    const digests = [await sha256OfFile(path), await sha256OfFile(twin)];
    sayStep(`${name}: ${digests.join(' and ')}`);
    if (digests[0] === digests[1]) continue;
    throw new Fault({
      code: 'not-reproducible',
      what: 'made again, it has other bytes',
      where: `${path} and ${twin}`,
      cure: 'Compare the two (diffoscope); something in the recipe depends on the day, the user or the folder.',
      exitStatus: EXIT.bug,
    });
  }
  await rm(folder, { recursive: true });
}

const sayStep = (line: string): void => void process.stderr.write(`  ${line}\n`);

async function main(): Promise<void> {
  const options = readOptions();
  const { factory, claim, out, version, json } = options;
  if (options.help) {
    process.stdout.write(`${USAGE}\n`);
    return;
  }
  if (!factory || !claim || !out) throw usageFault('--factory, --claim and --out are needed');
  const userspace = userspaceOf(options.userspace);
  const files: string[] = [];
  for (const name of FACTORY_FILES) {
    files.push(await demandFile(resolve(factory, name), `the factory folder has no ${name}`));
  }
  await demandFile(claim, 'there is no claim file');
  const folder = resolve(options['slot-images'] ?? `${out}.slot`);
  const keyFolder = options.verity === undefined ? undefined : resolve(options.verity);
  if (keyFolder !== undefined && !existsSync(keyFolder)) await makeBootloaderKey(keyFolder);
  const base = await prepare({ userspace, verified: keyFolder !== undefined, say: sayStep });
  const inputs = { version, factory: files, claim, keyFolder };
  const places = { disk: resolve(out), slotImages: folder, firmware: keyFolder ?? folder };
  const made = await make({ ...inputs, base }, places);
  const checked = options['check-reproducible'];
  if (checked) await demandSameAgain(inputs, userspace, made);
  const sha256 = await sha256OfFile(out);
  const { disk, firmware } = made;
  const said = {
    ok: true,
    disk,
    sha256,
    version,
    userspace: userspace.name,
    slotImages: folder,
    kernel: base.kernel,
    firmware,
  };
  if (json) process.stdout.write(`${JSON.stringify({ ...said, ...(checked ? { reproducible: true } : {}) })}\n`);
  else {
    const same = checked ? ', the same when made again on another day' : '';
    process.stdout.write(
      `${disk}: ${version}, ${userspace.name}, ${base.kernel}\n  sha256 ${sha256}${same}\n  the images of its slot: ${folder}\n`,
    );
    if (firmware !== undefined) {
      process.stdout.write(`  for the board: -dtb ${firmware.deviceTree}, read-only flash ${firmware.flash}\n`);
    }
    process.stdout.write(
      firmware === undefined
        ? 'Next: npm run qemu -- --image DISK, or write it to a disk whose board has an environment as docs/QEMU.md says.\n'
        : 'Next: give both to the board with this disk. Whoever has KEYS can sign for it: keep it as docs/KEYS.md says.\n',
    );
  }
}

try {
  await main();
} catch (error) {
  const has = (name: string): boolean => process.argv.includes(name);
  process.exitCode = reportFailure('image', error, { json: has('--json'), debug: has('--debug') });
}
