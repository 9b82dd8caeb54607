/**
 * What U-Boot verifies: a FIT with kernel and initial RAM disk, signed with the device maker's bootloader key, and that
 * key, as a required one, in the device tree that U-Boot itself is given.
 */
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EXIT, Fault } from '../../platform/fault.ts';
import { IMAGE_TOOL_ENV } from '../images/ext4-image.ts';
import { needProgram, runProgram } from '../programs.ts';

/** mkimage looks for KEY_NAME.key and KEY_NAME.crt in a folder; U-Boot for key-KEY_NAME in its device tree. */
const KEY_NAME = 'bootloader';
const KEY_BITS = 4096;
/** U-Boot's script names it: what a FIT calls its default is not signed. */
export const FIT_CONFIGURATION = 'holdfast';
/** kernel_addr_r of this board. */
const KERNEL_ADDRESS = '0x40400000';

/** A key for one bootloader, readable by its owner alone. `folder` must not be there. The certificate is only mkimage's form of a public key. */
export async function makeBootloaderKey(folder: string): Promise<void> {
  await mkdir(folder, { mode: 0o700 });
  const [key, certificate] = [join(folder, `${KEY_NAME}.key`), join(folder, `${KEY_NAME}.crt`)];
  // Made before anything is in it: openssl writes into what is there.
  await writeFile(key, '', { mode: 0o600 });
  const how = ['-algorithm', 'RSA', '-pkeyopt', `rsa_keygen_bits:${KEY_BITS}`];
  await needProgram('openssl', ['genpkey', ...how, '-out', key]);
  await chmod(key, 0o600);
  const name = ['-subj', '/CN=bootloader', '-days', '7300'];
  await needProgram('openssl', ['req', '-batch', '-new', '-x509', '-key', key, '-out', certificate, ...name]);
}

export interface FitFiles {
  readonly kernel: string;
  readonly ramDisk: string;
}

/** The source of a FIT, as mkimage takes it. Nothing in it is unsigned that U-Boot acts on: the configuration names both images, and their hashes are signed with it. */
export function fitSource({ kernel, ramDisk }: FitFiles): string {
  const image = (name: string, type: string, file: string, more = ''): string => `    ${name} {
      description = "${name}"; data = /incbin/("${file}");
      type = "${type}"; arch = "arm64"; os = "linux"; compression = "none";${more}
      hash-1 { algo = "sha256"; };
    };`;
  return `/dts-v1/;
/ {
  description = "Holdfast"; #address-cells = <1>;
  images {
${image('kernel', 'kernel', kernel, ` load = <${KERNEL_ADDRESS}>; entry = <${KERNEL_ADDRESS}>;`)}
${image('ramdisk', 'ramdisk', ramDisk)}
  };
  configurations {
    default = "${FIT_CONFIGURATION}";
    ${FIT_CONFIGURATION} {
      description = "kernel and initial RAM disk"; kernel = "kernel"; ramdisk = "ramdisk";
      signature { algo = "sha256,rsa${KEY_BITS}"; key-name-hint = "${KEY_NAME}"; sign-images = "kernel", "ramdisk"; };
    };
  };
};
`;
}

export interface FitRequest extends FitFiles {
  readonly outFile: string;
  /** As makeBootloaderKey made it; without one nothing is signed. */
  readonly keyFolder?: string;
  /** Also puts the public key into this device tree, as one that U-Boot requires. */
  readonly deviceTree?: string;
}

/** Throws a Fault when the key cannot be used: mkimage then goes on without it, and says that all is well. */
export async function signFit(request: FitRequest): Promise<void> {
  const { outFile, keyFolder, deviceTree } = request;
  const source = `${outFile}.its`;
  await writeFile(source, fitSource(request));
  const sign = keyFolder === undefined ? [] : ['-k', keyFolder];
  const require = deviceTree === undefined ? [] : ['-K', deviceTree, '-r'];
  await needProgram('mkimage', ['-f', source, ...sign, ...require, outFile], { env: IMAGE_TOOL_ENV });
  await rm(source);
  if (keyFolder === undefined) return;
  const signature = await propertiesOf(outFile, `/configurations/${FIT_CONFIGURATION}/signature`);
  const key = deviceTree === undefined ? ['required'] : await propertiesOf(deviceTree, `/signature/key-${KEY_NAME}`);
  if (signature.includes('value') && key.includes('required')) return;
  throw new Fault({
    code: 'bootloader-key-unusable',
    what: "mkimage signed nothing with the bootloader's key",
    where: keyFolder,
    cure: `It must hold ${KEY_NAME}.key (RSA, ${KEY_BITS} bits) and ${KEY_NAME}.crt; both are made in a folder that is not there yet.`,
    exitStatus: EXIT.input,
  });
}

/** Of a node of a FIT or a device tree; none where there is no such node. */
async function propertiesOf(file: string, node: string): Promise<string[]> {
  return (await runProgram('fdtget', ['-p', file, node])).stdout.split('\n');
}
