/** What the doctor says of one thing: fine, worth knowing, or in the way of a safe update. */
import { errorText, Fault } from '../../platform/fault.ts';

export interface DoctorRow {
  readonly check: string;
  /** `advice` never makes the command fail; `missing` does. */
  readonly state: 'ok' | 'advice' | 'missing';
  readonly says: string;
  /** One sentence a person can act on; empty when all is well. */
  readonly cure: string;
}

export const ok = (check: string, says: string): DoctorRow => ({ check, state: 'ok', says, cure: '' });
export const advice = (check: string, says: string, cure: string): DoctorRow => ({
  check,
  state: 'advice',
  says,
  cure,
});
export const missing = (check: string, says: string, cure: string): DoctorRow => ({
  check,
  state: 'missing',
  says,
  cure,
});

/** Whatever a check throws is its finding: one that cannot be made must not hide the others. */
export async function examine(check: string, work: () => Promise<DoctorRow[]>): Promise<DoctorRow[]> {
  try {
    return await work();
  } catch (error) {
    return [missing(check, errorText(error), error instanceof Fault ? error.cure : 'Cure what the message says.')];
  }
}

/** A table for a person, with the cure below what needs one; ends with a line end. */
export function describeRows(rows: readonly DoctorRow[]): string {
  const width = Math.max(...rows.map(({ check }) => check.length));
  const lines = rows.flatMap(({ check, state, says, cure }) => [
    `${state.padEnd(7)}  ${check.padEnd(width)}  ${says}`,
    ...(cure === '' ? [] : [`${' '.repeat(width + 11)}${cure}`]),
  ]);
  return `${lines.join('\n')}\n`;
}
