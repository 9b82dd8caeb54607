/** `--allow CODE[:PATH]=REASON`: a finding that somebody decided to live with, and why; it stays in the output. */
import { EXIT, Fault } from '../../platform/fault.ts';
import { FINDINGS, type Finding, type FindingCode } from './findings.ts';

export interface Allowance {
  readonly code: FindingCode;
  /** With a slash in front; one that ends in a slash means all below it. null: everywhere. */
  readonly path: string | null;
  readonly reason: string;
}

/** Faults: `allowance-malformed`, `finding-unknown`. */
export function parseAllowance(text: string): Allowance {
  const [, code = '', path, reason = ''] = /^([a-z-]+)(?::(\/[^=]*))?=(.*)$/s.exec(text) ?? [];
  if (code === '' || reason.trim() === '') {
    throw new Fault({
      code: 'allowance-malformed',
      what: `'${text}' does not name a finding and a reason`,
      where: '--allow CODE[:PATH]=REASON',
      cure: "Write it like --allow 'host-key:/etc/ssh/=made for the test bench'.",
      exitStatus: EXIT.usage,
    });
  }
  if (!Object.hasOwn(FINDINGS, code)) {
    throw new Fault({
      code: 'finding-unknown',
      what: `there is no finding '${code}'`,
      where: '--allow CODE[:PATH]=REASON',
      cure: 'Take the code from the output, or from docs/IMAGE_LINT.md.',
      exitStatus: EXIT.usage,
    });
  }
  return { code: code as FindingCode, path: path ?? null, reason: reason.trim() };
}

/** Marks what is allowed; an allowance that fits nothing becomes a note. */
export function applyAllowances(findings: readonly Finding[], allowances: readonly Allowance[]): Finding[] {
  const used = new Set<Allowance>();
  const marked = findings.map((finding) => {
    const allowance = allowances.find((one) => fits(one, finding));
    if (allowance === undefined) return finding;
    used.add(allowance);
    return { ...finding, allowed: allowance.reason };
  });
  return [...marked, ...allowances.filter((one) => !used.has(one)).map(unused)];
}

function fits({ code, path }: Allowance, finding: Finding): boolean {
  if (code !== finding.code) return false;
  if (path === null || path === finding.path) return true;
  return path.endsWith('/') && finding.path.startsWith(path);
}

function unused({ code, path }: Allowance): Finding {
  const { severity, cure } = FINDINGS['allowance-unused'];
  const what = `--allow ${code}${path === null ? '' : `:${path}`} fits nothing`;
  return { code: 'allowance-unused', severity, volume: '', path: '', line: null, what, cure, allowed: null };
}
