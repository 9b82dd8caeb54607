/** `holdfast image lint`: what an image has in it that every device would then have in common with every other. */
import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { faultOfSystemError } from '../../platform/command-line.ts';
import { EXIT } from '../../platform/fault.ts';
import { addCommand, addGroup, collectValues, type Finish, type Outcome, onRun } from '../command.ts';
import { applyAllowances, parseAllowance } from '../image-lint/allowance.ts';
import type { Finding } from '../image-lint/findings.ts';
import { bytesToScan, lintImage } from '../image-lint/lint.ts';
import { documentOf, type LintDocument, sayReport } from '../image-lint/report.ts';
import { type OpenedImage, openImage } from '../image-lint/volumes.ts';
import type { Output } from '../output.ts';

interface LintOptions {
  readonly allow: readonly string[];
  readonly product?: boolean;
  readonly report?: string;
}

async function runLint(out: Output, options: LintOptions, path: string): Promise<Outcome> {
  const allowances = options.allow.map(parseAllowance);
  if (!out.json) out.say(`Reading ${path}`);
  const opened = openImage(path);
  try {
    const findings = applyAllowances(await lintWithProgress(out, opened, options.product === true), allowances);
    const document = documentOf(path, opened, findings);
    sayReport(out, opened, document);
    const ok = document.errors === 0;
    if (options.report !== undefined) await writeReport(options.report, { ok, ...document });
    sayNext(out, document);
    return { document, exitStatus: ok ? EXIT.ok : EXIT.refused };
  } finally {
    opened.close();
  }
}

async function lintWithProgress(out: Output, opened: OpenedImage, isProduct: boolean): Promise<Finding[]> {
  const progress = out.progress('Looking through files', bytesToScan(opened));
  let doneBytes = 0;
  const findings = await lintImage(opened, {
    isProduct,
    onProgress(bytes) {
      doneBytes += bytes;
      progress.update(doneBytes);
    },
  });
  progress.finish();
  return findings;
}

async function writeReport(path: string, document: object): Promise<void> {
  try {
    await writeFile(path, `${JSON.stringify(document, null, 2)}\n`);
  } catch (error) {
    throw faultOfSystemError(error, path) ?? error;
  }
}

function sayNext(out: Output, { errors, findings }: LintDocument): void {
  const first = findings.find(({ severity, allowed }) => severity === 'error' && allowed === null);
  if (errors === 0 || first === undefined) {
    out.next('holdfast release build    the image can go into a release');
    return;
  }
  const place = first.path === '' ? '' : `:${first.path}`;
  out.next(
    'mend the image as each fix says, and lint it again',
    `--allow '${first.code}${place}=REASON'    for what has to stay; the reason is kept in the report`,
  );
}

export function addImageCommands(program: Command, finish: Finish): void {
  const image = addGroup(program, 'image', 'look into images before devices get them');
  const lint = addCommand(image, {
    usage: 'lint IMAGE',
    summary: 'find secrets, open doors and missing gates in an image',
    details:
      'IMAGE is a raw disk (GPT or MBR), an ext4, squashfs, erofs or FAT image, or a folder. Nothing is mounted, and no root rights are needed. Exit 4 when there are errors that are not allowed.',
    examples: [
      'holdfast image lint disk.img',
      "holdfast image lint rootfs.img --product --report lint.json --allow 'partition-unknown=the environment of U-Boot'",
    ],
  })
    .option('--allow <CODE[:PATH]=REASON>', 'live with a finding, and say why (again for more)', collectValues, [])
    .option('--product', 'demand the agent and its gates even where there is no agent.json')
    .option('--report <FILE>', 'also write the JSON document there');
  onRun<LintOptions>(lint, finish, (out, options, path = '') => runLint(out, options, path));
}
