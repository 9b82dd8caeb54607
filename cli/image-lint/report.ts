/** What `holdfast image lint` says, for people and for machines. */
import type { Output } from '../output.ts';
import { formatBytes } from '../progress.ts';
import type { Finding, Severity } from './findings.ts';
import type { OpenedImage, Volume } from './volumes.ts';

export interface LintDocument extends Readonly<Record<string, unknown>> {
  readonly image: string;
  readonly errors: number;
  readonly warnings: number;
  readonly notes: number;
  readonly allowed: number;
  readonly findings: readonly Finding[];
}

/** Of one kind; the document has them all. */
const SAID_AT_MOST = 50;
const ORDER: readonly Severity[] = ['error', 'warning', 'note'];

export function documentOf(image: string, opened: OpenedImage, findings: readonly Finding[]): LintDocument {
  const count = (severity: Severity): number =>
    findings.filter((finding) => finding.severity === severity && finding.allowed === null).length;
  return {
    image,
    volumes: opened.volumes.map(({ name, format, sizeBytes, state, isRoot, view }) => {
      return { name, format, sizeBytes, state, isRoot, files: view?.files().length ?? 0 };
    }),
    errors: count('error'),
    warnings: count('warning'),
    notes: count('note'),
    allowed: findings.filter(({ allowed }) => allowed !== null).length,
    findings,
  };
}

export function sayReport(out: Output, { volumes }: OpenedImage, document: LintDocument): void {
  for (const volume of volumes) out.say(volumeWords(volume));
  const open = document.findings.filter(({ allowed }) => allowed === null);
  for (const severity of ORDER) {
    for (const code of new Set(open.filter((one) => one.severity === severity).map((one) => one.code))) {
      const same = open.filter((one) => one.code === code);
      out.say();
      out.say(`${severity} ${code}`);
      for (const finding of same.slice(0, SAID_AT_MOST)) out.say(`  ${placeOf(finding)}${finding.what}`);
      if (same.length > SAID_AT_MOST) out.say(`  and ${same.length - SAID_AT_MOST} more; --report FILE has them all`);
      out.say(`  fix: ${same[0]?.cure ?? ''}`);
    }
  }
  const allowed = document.findings.filter((one) => one.allowed !== null);
  if (allowed.length > 0) out.say();
  for (const finding of allowed)
    out.say(`allowed ${finding.code}: ${placeOf(finding)}${finding.what}; because: ${finding.allowed}`);
  out.say();
  const { errors, warnings, notes } = document;
  out.say(
    `${counted(errors, 'error')}, ${counted(warnings, 'warning')}, ${counted(notes, 'note')}, ${document.allowed} allowed.`,
  );
}

function volumeWords({ name, format, sizeBytes, state, isRoot, view }: Volume): string {
  const files = view === undefined ? state : `${view.files().length} files`;
  const size = sizeBytes === 0 ? '' : `, ${formatBytes(sizeBytes)}`;
  return `${name === '' ? 'the whole image' : name}: ${format}${size}, ${files}${isRoot ? ', a root file system' : ''}`;
}

function placeOf({ volume, path, line }: Finding): string {
  const place = [volume, path].filter((part) => part !== '').join(' ');
  return place === '' ? '' : `${place}${line === null ? '' : `:${line}`}: `;
}

function counted(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}
