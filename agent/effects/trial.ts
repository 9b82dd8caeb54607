/**
 * From the first boot of a new slot to its seal, or back to the old one.
 *
 * Invariants: everything here may run twice. Counters only rise; a slot is taken out of the order before a floor passes it.
 */
import { countersAfterConfirm, slotReachesFloor } from '../../trust/counter.ts';
import { raiseTimeFloor } from '../../trust/time.ts';
import { decideTrial } from '../core/health-decision.ts';
import type { HealthBaseline } from '../core/ports.ts';
import { addToQuarantine, countNetworkReturn, pruneQuarantine } from '../core/quarantine.ts';
import { baselineRecord } from '../storage/baseline-record.ts';
import { otherSlot } from '../storage/device-state.ts';
import { type Execution, type Outcome, trouble, underWay } from './execution.ts';
import { requestReboot } from './install.ts';

/** How often a trial asks whether the server is back. */
const SERVER_ASK_MS = 1_000;

export async function judgeTrial(x: Execution): Promise<Outcome> {
  const { clock, health, server } = x.ports;
  const { serverBefore } = x.state.journal;
  const verdict = await health.check(await readBaseline(x));
  const startedMs = clock.monotonicMs();
  for (;;) {
    const decision = decideTrial({
      health: verdict,
      serverReachableBefore: serverBefore,
      serverReachable: verdict.healthy && serverBefore && (await server.reachable()),
      waitedMs: clock.monotonicMs() - startedMs,
      waitLimitMs: x.settings.trialServerWaitMs,
    });
    if (decision.decision === 'confirm') return { event: 'health-passed' };
    if (decision.decision === 'go-back') {
      const event = decision.quarantine ? 'health-failed' : 'server-lost';
      return { event, change: trouble(x, decision.reason, decision.detail, decision.quarantine) };
    }
    x.ports.onProgress?.();
    await clock.sleep(SERVER_ASK_MS);
  }
}

/** Of this very update; undefined when the release before kept none, or it is lost: then nothing is blamed by it. */
async function readBaseline(x: Execution): Promise<HealthBaseline | undefined> {
  const found = await baselineRecord(x.ports.disk, x.settings.stateDirectory).read();
  if (found.found !== 'whole' || found.value.actionId !== x.state.journal.action?.actionId) return undefined;
  return found.value;
}

export async function confirmSlot(x: Execution): Promise<Outcome> {
  await x.ports.board.confirmSlot(x.booted.slot);
  return { event: 'slot-confirmed' };
}

export async function reportConfirmed(x: Execution): Promise<Outcome> {
  const { plan } = x.state.journal;
  const version = plan?.version ?? x.state.slots[x.booted.slot]?.version ?? 'unknown';
  await x.ports.reporter.record({ kind: 'confirmed', ...underWay(x), slot: x.booted.slot, version });
  return undefined;
}

export async function retireBelowFloor(x: Execution): Promise<Outcome> {
  const { plan } = x.state.journal;
  if (plan === null) return undefined;
  const inactive = otherSlot(x.booted.slot);
  const floor = countersAfterConfirm(x.state.counters, plan).floorSequence;
  if (slotReachesFloor(x.state.slots[inactive]?.sequence ?? 0, floor)) return undefined;
  await x.ports.board.retireSlot(inactive);
  return undefined;
}

export async function raiseCounters(x: Execution): Promise<Outcome> {
  const { plan } = x.state.journal;
  if (plan !== null) {
    const { timeFloorUnixS } = x.state.counters;
    const time = { signedUnixS: plan.buildUnixS, rootExpiresUnixS: plan.rootExpiresUnixS };
    await x.state.raiseCounters({
      ...countersAfterConfirm(x.state.counters, plan),
      timeFloorUnixS: raiseTimeFloor({ floorUnixS: timeFloorUnixS, ...time }),
    });
    await x.state.replaceQuarantine(pruneQuarantine(x.state.quarantine, x.state.counters.installedSequence));
  }
  return { event: 'sealed' };
}

export async function recordVerdict(x: Execution): Promise<Outcome> {
  const { trouble: why } = x.state.journal;
  const { actionId, sequence } = underWay(x);
  if (why === null || sequence === 0) return undefined;
  const { quarantine } = x.state;
  if (why.quarantine) await x.state.replaceQuarantine(addToQuarantine(quarantine, { sequence, reason: why.code }));
  else if (why.code === 'server-unreachable-in-trial' && actionId !== null) {
    await x.state.replaceQuarantine(countNetworkReturn(quarantine, { sequence, actionId, bootId: why.bootId }));
  }
  return undefined;
}

export async function goBack(x: Execution): Promise<Outcome> {
  const { order } = await x.ports.board.bootFlags();
  if (order[0] !== x.booted.slot) return requestReboot(x);
  if (x.state.journal.target !== x.booted.slot) return { event: 'back' };
  // Rebooting would only come back here.
  return { event: 'unfit', change: trouble(x, 'cannot-go-back', 'the failed slot is first in the boot order') };
}
