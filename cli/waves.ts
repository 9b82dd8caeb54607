/** Waves and shares on the command line: `1,25%,100%` and `20%`. */
import { EXIT, Fault } from '../platform/fault.ts';
import type { Wave } from '../protocol/operator-api.ts';

const WAVES_AT_MOST = 32;

/** Proposed wherever nobody said otherwise. */
export const USUAL_WAVES = '1,25%,100%';
/** What `rollout start` takes when it is not told otherwise, and what a preflight reckons with. */
export const GATE_DEFAULTS = { maxFailed: '20%', minSample: '1' } as const;

function malformed(what: string, where: string, cure: string): Fault {
  return new Fault({ code: 'waves-malformed', what, where, cure, exitStatus: EXIT.usage });
}

function parseWave(text: string, number: number): Wave {
  const count = /^([1-9]\d{0,6})$/.exec(text)?.[1];
  if (count !== undefined) return { devices: Number(count) };
  const percent = Number(/^(\d{1,3}(?:\.\d{1,3})?)%$/.exec(text)?.[1] ?? Number.NaN);
  if (percent > 0 && percent <= 100) return { percent };
  throw malformed(
    `wave ${number} is '${text}', which is neither a number of devices nor a percentage up to 100%`,
    '--waves',
    'Write waves like "1,25%,100%": numbers of devices or percentages, with commas and no spaces.',
  );
}

function describe(wave: Wave): string {
  return 'devices' in wave ? String(wave.devices) : `${wave.percent}%`;
}

/**
 * Waves in order; each includes the ones before it, so that the same kind may not shrink. `soakMs` applies to each.
 * Fault `waves-malformed` otherwise.
 */
export function parseWaves(text: string, soakMs: number): Wave[] {
  const waves = text.split(',').map((part, index) => parseWave(part.trim(), index + 1));
  if (waves.length > WAVES_AT_MOST) {
    throw malformed(`there are ${waves.length} waves`, '--waves', `Use at most ${WAVES_AT_MOST}.`);
  }
  const largest = { devices: 0, percent: 0 };
  for (const [index, wave] of waves.entries()) {
    const [kind, size] =
      'devices' in wave ? (['devices', wave.devices] as const) : (['percent', wave.percent] as const);
    if (size <= largest[kind]) {
      throw malformed(
        `wave ${index + 1} (${describe(wave)}) is not larger than an earlier one`,
        '--waves',
        'Each wave includes the ones before it: write them from the smallest to the largest.',
      );
    }
    largest[kind] = size;
  }
  return soakMs === 0 ? waves : waves.map((wave) => ({ ...wave, soakMs }));
}

export function formatWave(wave: Wave): string {
  const soak = wave.soakMs === undefined || wave.soakMs === 0 ? '' : `, soak ${wave.soakMs / 1000} s`;
  return 'devices' in wave
    ? `${wave.devices} device${wave.devices === 1 ? '' : 's'}${soak}`
    : `${wave.percent} %${soak}`;
}

/** `20%` → 20. Fault `percentage-malformed` otherwise. */
export function parsePercentage(text: string, option: string): number {
  const percent = Number(/^(\d{1,3}(?:\.\d{1,3})?)%$/.exec(text)?.[1] ?? Number.NaN);
  if (percent >= 0 && percent <= 100) return percent;
  throw new Fault({
    code: 'percentage-malformed',
    what: `'${text}' is not a percentage from 0% to 100%`,
    where: option,
    cure: 'Write it like 20%.',
    exitStatus: EXIT.usage,
  });
}

/** A whole number within bounds. Fault `number-malformed` otherwise. */
export function parseWholeNumber(text: string, option: string, least: number, most: number): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new Fault({
    code: 'number-malformed',
    what: `'${text}' is not a whole number from ${least} to ${most}`,
    where: option,
    cure: 'Write digits only.',
    exitStatus: EXIT.usage,
  });
}
