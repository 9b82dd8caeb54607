/** Why the first boot is blocked: whatever was thrown, as provider, code and detail, and what cures it. */
import { errorText, Fault, systemErrorCode } from '../../platform/fault.ts';
import type { BlockedBecause } from '../../protocol/credentials.ts';
import { EntropyMissing } from '../core/first-boot-ports.ts';

const DETAIL_CAP_CHARACTERS = 512;

/** A check said no, or something that is needed is not there. */
export class FirstBootTrouble extends Error {
  override readonly name = 'FirstBootTrouble';
  readonly code: string;

  constructor(code: string, detail: string) {
    super(detail);
    this.code = code;
  }
}

export function troubleOf(error: unknown, provider: string | null): BlockedBecause {
  const cure = error instanceof Fault ? ` (cure: ${error.cure})` : '';
  const detail = `${errorText(error)}${cure}`.slice(0, DETAIL_CAP_CHARACTERS);
  return { provider: provider?.slice(0, 64) ?? null, code: codeOf(error).slice(0, 64), detail };
}

function codeOf(error: unknown): string {
  if (error instanceof FirstBootTrouble || error instanceof Fault) return error.code;
  if (error instanceof EntropyMissing) return 'entropy-missing';
  const system = systemErrorCode(error);
  return system === undefined ? 'bug' : `system-${system.toLowerCase()}`;
}

const CURES: Readonly<Record<string, string>> = {
  'entropy-missing': 'Wait: it is tried again. A board without a hardware generator needs a seed file or more time.',
  'providers-missing': 'List the credentials of this device in agent.json (firstBoot.providers).',
  'reboot-needed': 'Reboot the device; then it is checked again.',
  'escrow-missing': 'Name the owners in agent.json (firstBoot.escrow.ownersFile) and put the file into the image.',
  'still-factory':
    'Name the provider of this credential in agent.json (firstBoot.providers), or take it out of the image.',
  'system-enospc': 'Free some space on the data partition; it is tried again.',
  'system-erofs': 'Mount the data partition writable; it is tried again.',
};

/** One sentence that a person can act on. */
export function cureOf({ code, provider }: BlockedBecause): string {
  const known = CURES[code];
  if (known !== undefined) return known;
  const who =
    provider === null ? 'what the detail names' : `the provider ${provider} (agent.json, firstBoot.providers)`;
  return `Correct ${who}; it is tried again at the next start, and a repair release can still arrive.`;
}
