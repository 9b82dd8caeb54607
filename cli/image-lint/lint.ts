/** Looks through an opened image: rules about configuration on each root file system, rules about contents on every file. */
import { FINDINGS, type Finding, type FindingCode, type Report } from './findings.ts';
import { checkAccounts, checkOtherShadows, checkUserConfiguration } from './rules/accounts.ts';
import { checkConsoles } from './rules/consoles.ts';
import { checkHoldfast } from './rules/holdfast.ts';
import { checkIdentity } from './rules/identity.ts';
import { checkPermissions } from './rules/permissions.ts';
import { checkServices } from './rules/services.ts';
import { checkSshd } from './rules/ssh.ts';
import { scanFiles, scannedBytes } from './scan.ts';
import type { TreeView } from './tree.ts';
import type { OpenedImage, Volume } from './volumes.ts';

/** More of one kind in one volume are an error of their own, which no allowance of that kind takes away. */
const OF_ONE_KIND_AT_MOST = 10_000;

interface LintWishes {
  /** Missing parts of Holdfast are errors even where there is no agent.json. */
  readonly isProduct: boolean;
  /** Called with the bytes of each file that was looked through. */
  readonly onProgress: (bytes: number) => void;
}

/** What `onProgress` will have been called with in the end. */
export function bytesToScan({ volumes }: OpenedImage): number {
  const files = volumes.flatMap(({ view }) => view?.files() ?? []);
  return files.reduce((sum, entry) => sum + scannedBytes(entry), 0);
}

/** Findings in the order of volumes, then of rules. Throws Faults for missing programs. */
export async function lintImage({ volumes }: OpenedImage, wishes: LintWishes): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const volume of volumes) findings.push(...(await lintVolume(volume, wishes)));
  if (!volumes.some(({ isRoot }) => isRoot)) {
    collector('', findings)('root-absent', '', 'none of the file systems has etc and usr');
  }
  return findings;
}

async function lintVolume(volume: Volume, { isProduct, onProgress }: LintWishes): Promise<Finding[]> {
  const findings: Finding[] = [];
  const report = collector(volume.name, findings);
  const { view, state, trouble } = volume;
  if (state === 'unread') report('filesystem-unread', '', `${volume.format}: ${trouble}`);
  if (state === 'unknown') report('partition-unknown', '', trouble);
  if (view === undefined) return findings;
  for (const what of view.tree.troubles)
    report(what.includes('cannot be read') ? 'file-unread' : 'image-hostile', '', what);
  if (volume.isRoot) await checkRoot(view, report, isProduct);
  checkIdentity(view, report);
  await checkUserConfiguration(view, report);
  await checkOtherShadows(view, report);
  await scanFiles(view, report, onProgress);
  return findings;
}

async function checkRoot(view: TreeView, report: Report, isProduct: boolean): Promise<void> {
  await checkAccounts(view, report);
  checkSshd(view, report);
  checkConsoles(view, report);
  checkServices(view, report);
  checkPermissions(view, report);
  checkHoldfast(view, report, isProduct);
}

function collector(volume: string, findings: Finding[]): Report {
  const counts = new Map<FindingCode, number>();
  return (code, path, what, line) => {
    const count = (counts.get(code) ?? 0) + 1;
    counts.set(code, count);
    if (count > OF_ONE_KIND_AT_MOST + 1) return;
    const over = count > OF_ONE_KIND_AT_MOST;
    const said = over ? `more than ${OF_ONE_KIND_AT_MOST} of ${code}` : what;
    const kind = over ? 'scan-incomplete' : code;
    const { severity, cure } = FINDINGS[kind];
    const place = path === '' ? '' : `/${path}`;
    findings.push({ code: kind, severity, volume, path: place, line: line ?? null, what: said, cure, allowed: null });
  };
}
