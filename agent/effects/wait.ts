/**
 * Waits while the application says that it is in use: before a trial is armed, and before a download where that is
 * asked for. Never for ever: the time that one action waited is kept across restarts, and ends at a limit.
 */
import { deferralRecord } from '../storage/deferral-record.ts';
import type { Execution, Outcome } from './execution.ts';

/** The time waited is written so often at most: a restart forgets no more than that. */
const KEPT_EVERY_MS = 600_000;

/** Yields a wait, or nothing when the work may go on. */
export async function awaitUse(x: Execution): Promise<Outcome> {
  const { ports, settings } = x;
  // Whoever brought a stick stands beside the device, and decides.
  if (settings.inUse === undefined || settings.offline === true) return undefined;
  const why = await ports.application?.inUse();
  if (why === undefined) {
    x.inUseSinceMs = undefined;
    return undefined;
  }
  const { limitMs, askEveryMs } = settings.inUse;
  const leftMs = limitMs - (await countWaited(x, Math.min(KEPT_EVERY_MS, limitMs / 16)));
  if (leftMs > 0) return { wait: { reason: 'in-use', detail: why, afterMs: Math.min(askEveryMs, leftMs) } };
  if (x.waiting?.reason !== 'in-use') return undefined;
  const detail = `in use for ${limitMs} ms, the limit: the update goes on (${why})`;
  await ports.reporter.record({ kind: 'notice', code: 'in-use-limit', detail: detail.slice(0, 512) });
  return undefined;
}

/** Milliseconds that this action has waited in all. */
async function countWaited(x: Execution, keptEveryMs: number): Promise<number> {
  const record = deferralRecord(x.ports.disk, x.settings.stateDirectory);
  const actionId = x.state.journal.action?.actionId ?? '';
  const found = await record.read();
  const before = found.found === 'whole' && found.value.actionId === actionId ? found.value.waitedMs : 0;
  const nowMs = x.ports.clock.monotonicMs();
  x.inUseSinceMs ??= nowMs;
  const runMs = Math.round(nowMs - x.inUseSinceMs);
  if (runMs < keptEveryMs) return before + runMs;
  await record.write({ actionId, waitedMs: before + runMs });
  x.inUseSinceMs = nowMs;
  return before + runMs;
}
