/**
 * What the server is told at the end of an action, and how the action is put to rest.
 *
 * A report may go out twice after a power cut; the server counts by action, not by report.
 */
import { isFinal } from '../core/quarantine.ts';
import { type Execution, type Outcome, underWay } from './execution.ts';
import { endFetch } from './install.ts';

export async function reportTrouble(x: Execution, kind: 'refused' | 'failed'): Promise<Outcome> {
  const { trouble: why } = x.state.journal;
  const code = (why?.code ?? 'unknown').slice(0, 64);
  await x.ports.reporter.record({ kind, ...underWay(x), code, detail: why?.detail ?? '' });
  return undefined;
}

export async function reportRolledBack(x: Execution): Promise<Outcome> {
  const { trouble: why } = x.state.journal;
  const facts = { reason: why?.code ?? 'unknown', quarantined: why?.quarantine ?? false, detail: why?.detail ?? '' };
  await x.ports.reporter.record({ kind: 'rolled-back', ...underWay(x), ...facts });
  return undefined;
}

export async function reportHeld(x: Execution): Promise<Outcome> {
  const { trouble: why } = x.state.journal;
  const detail = `${why?.code ?? 'unknown'}: ${why?.detail ?? ''}`.slice(0, 512);
  await x.ports.reporter.record({ kind: 'notice', code: 'held', detail });
  return undefined;
}

/** An action that ended for good is not taken up again when the server has not heard of its end yet. */
export async function settle(x: Execution): Promise<Outcome> {
  const { action, trouble: why, settled } = x.state.journal;
  const final = why === null ? x.state.slots[x.booted.slot]?.sequence === action?.sequence : isFinal(why);
  await endFetch(x);
  x.obtained = undefined;
  x.progress = null;
  await x.state.journalTo({
    owed: [],
    action: null,
    target: null,
    plan: null,
    filled: [],
    serverBefore: false,
    trouble: null,
    settled: action === null ? settled : { actionId: action.actionId, final },
  });
  return undefined;
}
