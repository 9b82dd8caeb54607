/** `holdfast label`: the QR code on a device, for a person who stands before it. Offline. */
import { randomBytes } from 'node:crypto';
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import * as v from 'valibot';
import { EXIT, Fault } from '../../platform/fault.ts';
import { readInputFile } from '../../platform/input-file.ts';
import { Name } from '../../protocol/device-api.ts';
import { ClaimFile } from '../../protocol/enrolment.ts';
import { LABEL_SECRET_BYTES, type LabelText, verifierOf } from '../../protocol/label.ts';
import { base64url } from '../../trust/bytes.ts';
import { decodeJson } from '../../trust/json.ts';
import { addCommand, type Finish, type Outcome, onRun } from '../command.ts';
import type { Output } from '../output.ts';
import { qrCode, qrSvg, qrText } from '../qr-picture.ts';
import { demandNewFile, demandNewSecretFile, writeNewFile } from '../secret-file.ts';

const CLAIM_CAP_BYTES = 4096;

interface LabelOptions {
  readonly device?: string;
  readonly claim?: string;
  readonly out?: string;
  readonly svg?: string;
}

/** What the label says, and what the device gets to know it by; a claim it has already. */
interface Content {
  readonly kind: 'label' | 'claim';
  readonly deviceId: string;
  readonly text: string;
  readonly file: string | null;
}

function wrong(code: string, what: string, where: string, cure: string): Fault {
  return new Fault({ code, what, where, cure, exitStatus: EXIT.usage });
}

async function contentOf(options: LabelOptions): Promise<Content> {
  if (options.claim !== undefined) return claimContent(options.claim, options.device);
  if (options.device === undefined || !v.is(Name, options.device)) {
    const what = options.device === undefined ? 'no device is named' : `'${options.device}' is not a device id`;
    throw wrong('device-id-malformed', what, '--device', 'Give the id of the device, like --device cam-0001.');
  }
  const secret = randomBytes(LABEL_SECRET_BYTES);
  const label: LabelText = { format: 'holdfast-label-1', deviceId: options.device, secret: base64url(secret) };
  secret.fill(0);
  const file = `${JSON.stringify(verifierOf(label))}\n`;
  return { kind: 'label', deviceId: options.device, text: JSON.stringify(label), file };
}

async function claimContent(path: string, expected: string | undefined): Promise<Content> {
  const json = decodeJson(await readInputFile(path, CLAIM_CAP_BYTES, 'a claim file'), { capBytes: CLAIM_CAP_BYTES });
  const claim = json.ok ? v.safeParse(ClaimFile, json.value) : undefined;
  if (!claim?.success) {
    throw new Fault({
      code: 'claim-malformed',
      what: 'this is not a claim',
      where: path,
      cure: 'Give a file that `holdfast devices claims` wrote.',
      exitStatus: EXIT.input,
    });
  }
  const { claimId } = claim.output;
  if (expected !== undefined && expected !== claimId) {
    throw wrong('claim-of-another-device', `the claim is for ${claimId}`, path, 'Give the claim of this device.');
  }
  return { kind: 'claim', deviceId: claimId, text: JSON.stringify(claim.output), file: null };
}

async function demandPlace(out: Output, options: LabelOptions): Promise<void> {
  if (options.svg !== undefined) await demandNewSecretFile(options.svg);
  if (options.svg !== undefined || (!out.json && process.stdout.isTTY)) return;
  throw wrong(
    'secrets-need-a-place',
    'a label holds a secret: it is shown on a terminal or written to a new file, and this is neither',
    '--svg',
    'Give --svg FILE; it is made with mode 0600.',
  );
}

async function makeLabel(out: Output, options: LabelOptions): Promise<Outcome> {
  await demandPlace(out, options);
  const { kind, deviceId, text, file: content } = await contentOf(options);
  const file = content === null ? null : resolve(options.out ?? `${deviceId}.label.json`);
  if (file !== null && content !== null) {
    await demandNewFile(file);
    await writeNewFile(file, Buffer.from(content, 'utf8'), 0o644);
  }
  const code = qrCode(text);
  if (options.svg !== undefined) {
    await writeNewFile(options.svg, Buffer.from(qrSvg(code, deviceId), 'utf8'));
    out.say(`The label of ${deviceId} is in ${resolve(options.svg)} (0600), ${code.size / 2} mm wide.`);
  } else {
    out.say(qrText(code));
    out.say(deviceId);
  }
  if (kind === 'claim') {
    out.say('It holds the claim: whoever reads it before the device has enrolled can enrol in its place.');
  } else {
    out.say('The secret in it stands nowhere else: the file for the device has a digest of it.');
    out.next(
      `put ${file} onto the device, name it in agent.json (firstBoot.labelFile), and stick the label inside its lid`,
      'holdfast-agent label --stdin    on the device: is what was scanned its label?',
    );
  }
  const svg = options.svg === undefined ? null : resolve(options.svg);
  return { document: { device: deviceId, kind, file, svg, modules: code.size } };
}

export function addLabelCommand(program: Command, finish: Finish): void {
  const command = addCommand(program, {
    usage: 'label',
    summary: 'print the QR code of a device: a random secret for local setup, or its claim',
    details:
      'Makes a random secret (192 bits), draws it as a QR code, and writes the file by which the device knows it again.\n' +
      'With --claim the code holds that claim instead: the text that a scanner reads is the claim file.',
    examples: [
      'holdfast label --device cam-0001 --svg cam-0001.svg',
      'holdfast label --claim ~/claims/cam-0001.claim.json --svg cam-0001.svg',
    ],
  })
    .option('--device <ID>', 'the device')
    .addOption(new Option('--claim <FILE>', 'draw this claim instead of a new secret').conflicts('out'))
    .option('--out <FILE>', 'the file for the device (default ID.label.json)')
    .option('--svg <FILE>', 'write the picture to this new file (0600) instead of the terminal');
  onRun<LabelOptions>(command, finish, makeLabel);
}
