/**
 * `npm run image`: a bootable disk for 64-bit Arm, with U-Boot's script, two slots, a data partition and the agent in its
 * own Debian package. The same inputs give the same bytes. See docs/QEMU.md.
 *
 *   npm run image -- --factory FOLDER --claim FILE --out DISK [--version TEXT] [--slot-images FOLDER] [--json]
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, copyFile, mkdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { reportFailure } from '../../platform/command-line.ts';
import { EXIT, errorText, Fault } from '../../platform/fault.ts';
import { makeDeviceDisk } from './device-disk.ts';
import { prepare } from './prepare.ts';
import { makeRootImage } from './small-image.ts';

const USAGE = `npm run image -- --factory FOLDER --claim FILE --out DISK [--version TEXT] [--slot-images FOLDER] [--json]
  --factory FOLDER      agent.json, root.json and server-ca.pem, for /etc/holdfast
  --claim FILE          this device's claim (holdfast devices claims), for its data partition
  --out DISK            the disk to make: raw, GPT
  --version TEXT        what the image says it is (1.0.0)
  --slot-images FOLDER  also put boot.img and rootfs.img there: what holdfast release build takes
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
        'slot-images': text,
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

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest('hex');
}

async function main(): Promise<void> {
  const { factory, claim, out, version, json, help, 'slot-images': slotImages } = readOptions();
  if (help) {
    process.stdout.write(`${USAGE}\n`);
    return;
  }
  if (!factory || !claim || !out) throw usageFault('--factory, --claim and --out are needed');
  const files: string[] = [];
  for (const name of FACTORY_FILES) {
    files.push(await demandFile(resolve(factory, name), `the factory folder has no ${name}`));
  }
  await demandFile(claim, 'there is no claim file');
  // Modes of folders in the image follow it.
  process.umask(0o022);
  const base = await prepare((line) => process.stderr.write(`  ${line}\n`));
  const folder = resolve(slotImages ?? `${out}.slot`);
  await mkdir(folder, { recursive: true });
  await mkdir(dirname(resolve(out)), { recursive: true });
  const rootImage = join(folder, 'rootfs.img');
  await makeRootImage({ base, version, fault: '', factory: files, outFile: rootImage });
  const bootImage = join(folder, 'boot.img');
  await copyFile(base.bootImage, bootImage);
  await makeDeviceDisk({ outFile: resolve(out), bootImage, rootImage, claim });
  const sha256 = await digestOf(out);
  const said = { ok: true, disk: resolve(out), sha256, version, slotImages: folder, kernel: base.kernel };
  if (json) process.stdout.write(`${JSON.stringify(said)}\n`);
  else {
    process.stdout.write(
      `${said.disk}: ${version}, ${base.kernel}\n  sha256 ${sha256}\n  the images of its slot: ${folder}\n`,
    );
    process.stdout.write(
      'Next: npm run qemu -- --image DISK, or write it to a disk whose board has an environment as docs/QEMU.md says.\n',
    );
  }
}

try {
  await main();
} catch (error) {
  const has = (name: string): boolean => process.argv.includes(name);
  process.exitCode = reportFailure('image', error, { json: has('--json'), debug: has('--debug') });
}
