/**
 * The factory by hand: makes one emulated device's folder from what the demo images, the ceremony, the server and a
 * claim left on disk.
 *
 *   node scripts/emulator/make-device.ts --dir DEVICE --images DIR --version 1.0.0 --sequence 1 \
 *        --claim CLAIM.json --root 1.root.json --endpoints SERVER_DATA/endpoints.json [--channel stable] \
 *        [--owner ANN.escrow-key.pub --owner BOB.escrow-key.pub]
 *
 * Vendor and environment come from the options and the signed root; the hardware class comes from the claim. At its first
 * boot the device replaces what the demo images bring, sealed to the owners of the root, or of --owner.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import * as v from 'valibot';
import { DEMO_TIMING, makeDevice } from '../../emulator/factory.ts';
import { readOwnerPublicKeys } from '../../keys/escrow-key.ts';
import { reportFailure } from '../../platform/command-line.ts';
import { EXIT, errorText, Fault } from '../../platform/fault.ts';
import { ClaimFile } from '../../protocol/enrolment.ts';
import { hex } from '../../trust/bytes.ts';
import { DEMO_PROVIDERS } from '../images/factory-secrets.ts';

const USAGE = `usage: node scripts/emulator/make-device.ts --dir DEVICE --images DIR --version VERSION --sequence NUMBER
  --claim FILE --root FILE --endpoints FILE [--vendor acme.example] [--channel stable]
  [--owner FILE]...   public keys of owners, where the root names none (holdfast escrow key new)`;

/** What the factory reads of files that other commands wrote; their other fields do not concern it. */
const RootFile = v.object({
  signed: v.object({ holdfast: v.object({ environment: v.picklist(['lab', 'rehearsal']) }) }),
});
const Endpoints = v.object({ deviceUrl: v.string(), mqttUrl: v.nullable(v.string()), serverCa: v.string() });

async function readJson<T>(path: string, schema: v.GenericSchema<unknown, T>, what: string): Promise<T> {
  const text = await readFile(path, 'utf8');
  try {
    return v.parse(schema, JSON.parse(text));
  } catch (cause) {
    throw new Fault({
      code: 'file-malformed',
      what: `this is not ${what} (${errorText(cause)})`,
      where: path,
      cure: 'Check the path; see docs/first-hour.md for where the file comes from.',
      exitStatus: EXIT.input,
      cause,
    });
  }
}

function usageFault(what: string): Fault {
  return new Fault({ code: 'usage', what, cure: USAGE, exitStatus: EXIT.usage });
}

function readOptions() {
  const text = { type: 'string' } as const;
  try {
    return parseArgs({
      options: {
        dir: text,
        images: text,
        version: text,
        sequence: text,
        claim: text,
        root: text,
        endpoints: text,
        vendor: { type: 'string', default: 'acme.example' },
        channel: { type: 'string', default: 'stable' },
        owner: { type: 'string', multiple: true, default: [] },
      },
    }).values;
  } catch (error) {
    throw usageFault(errorText(error));
  }
}

async function main(): Promise<void> {
  const { dir, images, version, sequence, claim, root, endpoints, vendor, channel, owner } = readOptions();
  if (!dir || !images || !version || !sequence || !claim || !root || !endpoints) {
    throw usageFault('every option without a default is needed');
  }
  const claimFile = await readJson(claim, ClaimFile, 'a claim file');
  const server = await readJson(endpoints, Endpoints, "a server's endpoints.json");
  const { environment } = (await readJson(root, RootFile, 'root metadata of a rehearsal or a lab')).signed.holdfast;
  await mkdir(dirname(resolve(dir)), { recursive: true });
  await makeDevice({
    directory: dir,
    images: { boot: join(images, 'boot.img'), rootfs: join(images, 'rootfs.img') },
    installed: { sequence: Number(sequence), version },
    vendor,
    hardwareClass: claimFile.hardwareClass,
    channel,
    environment,
    rootFile: root,
    claim: `${JSON.stringify(claimFile)}\n`,
    server: {
      url: server.deviceUrl,
      mqttUrl: server.mqttUrl,
      anchorsFile: resolve(dirname(endpoints), server.serverCa),
    },
    timing: DEMO_TIMING,
    firstBoot: { providers: DEMO_PROVIDERS, owners: (await readOwnerPublicKeys(owner)).map(hex) },
  });
  process.stdout.write(`${claimFile.claimId}: ${dir}, class ${claimFile.hardwareClass}, ${version} in slot a\n`);
}

try {
  await main();
} catch (error) {
  process.exitCode = reportFailure('make-device', error, { json: false, debug: false });
}
