/**
 * `label`: is what was scanned the label of this device? For the setup program of the device's maker, which has a person
 * before it and asks whether they stand before this device. Exit 0 when it is, 4 when not. Opens and changes nothing.
 */
import { nodeDisk } from '../../platform/disk.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { readInputFile } from '../../platform/input-file.ts';
import { decodeLabelVerifier, isLabelOf, type LabelVerifier } from '../../protocol/label.ts';
import type { CommandOptions } from '../command-options.ts';
import { readConfig } from '../config.ts';
import { firstBootConfigOf } from '../first-boot/first-boot-config.ts';
import { secretFromStdin, secretFromTerminal } from '../typed-secret.ts';

const VERIFIER_CAP_BYTES = 4096;

export async function labelCommand({ config: path, stdin, json }: CommandOptions): Promise<number> {
  const { labelFile } = firstBootConfigOf(await readConfig(nodeDisk, path));
  if (labelFile === null) throw notConfigured(path);
  const verifier = await readVerifier(labelFile);
  const scanned = await (stdin ? secretFromStdin() : secretFromTerminal('What the label says: '));
  const ok = isLabelOf(scanned, verifier);
  const word = ok ? 'this is the label of this device' : 'this is not the label of this device';
  process.stdout.write(json ? `${JSON.stringify({ ok, deviceId: verifier.deviceId })}\n` : `${word}\n`);
  return ok ? EXIT.ok : EXIT.refused;
}

async function readVerifier(path: string): Promise<LabelVerifier> {
  const verifier = decodeLabelVerifier(await readInputFile(path, VERIFIER_CAP_BYTES, 'the file of a label'));
  if (verifier !== undefined) return verifier;
  throw new Fault({
    code: 'label-file-malformed',
    what: 'this is not the file of a label',
    where: path,
    cure: 'Put the file there that `holdfast label` wrote for this device.',
    exitStatus: EXIT.input,
  });
}

function notConfigured(path: string): Fault {
  return new Fault({
    code: 'label-not-configured',
    what: 'agent.json names no label of this device',
    where: `${path}, field firstBoot.labelFile`,
    cure: 'Name the file that `holdfast label` wrote, on the factory or boot partition.',
    exitStatus: EXIT.input,
  });
}
