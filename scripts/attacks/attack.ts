/**
 * What an attack is here: an accepted input, changed in one respect. Both are put to the real verifier in the same run;
 * what refused says its code, and an attack whose unchanged twin was refused too proves nothing.
 */

export interface Verified {
  readonly accepted: boolean;
  /** As the refusing side said it; empty when it accepted. */
  readonly code: string;
  readonly detail: string;
}

export interface AttackOutcome {
  readonly attack: Verified;
  readonly twin: Verified;
}

export interface Attack<Lab> {
  readonly name: string;
  readonly by: 'device' | 'server' | 'broker';
  /** What must refuse it. The report takes the code from the outcome, never from here. */
  readonly expectedCode: string;
  readonly make: (lab: Lab) => Promise<AttackOutcome>;
}

export interface AttackRow {
  readonly attack: string;
  readonly by: 'device' | 'server' | 'broker';
  readonly code: string;
  readonly twinAccepted: boolean;
}

export interface AttackResult {
  readonly row: AttackRow;
  /** Empty when it went as it must. */
  readonly finding: string;
}

export const accepted = (detail = ''): Verified => ({ accepted: true, code: '', detail });
export const refused = (code: string, detail: string): Verified => ({ accepted: false, code, detail });

export function judge<Lab>(attack: Attack<Lab>, outcome: AttackOutcome): AttackResult {
  const { name, by, expectedCode } = attack;
  const row = { attack: name, by, code: outcome.attack.code, twinAccepted: outcome.twin.accepted };
  if (outcome.attack.accepted) return { row, finding: `${name}: it was accepted` };
  if (row.code !== expectedCode) {
    return { row, finding: `${name}: refused with ${row.code} (${outcome.attack.detail}), not ${expectedCode}` };
  }
  if (!row.twinAccepted) {
    return {
      row,
      finding: `${name}: its unchanged twin was refused too: ${outcome.twin.code} (${outcome.twin.detail})`,
    };
  }
  return { row, finding: '' };
}
