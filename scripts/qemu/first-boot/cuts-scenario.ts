/** Power cuts while a device makes secrets of its own: at its first boot, and at a rotation that was commanded. */
import { errorText } from '../../../platform/fault.ts';
import type { CountRow, Scenario, ScenarioLab } from '../scenario.ts';
import { type Flow, type PlannedRotationCut, planRotationCuts } from './cut-plan.ts';
import { RecordedRotation, type RotationCut } from './rotation-cuts.ts';

const SHORT_CUTS = 3;
const LOST_AT_MOST = 3;
const FLOWS: Readonly<Record<Flow, string>> = { first: 'first boot', commanded: 'commanded rotation' };

export const ROTATION_CUTS: Scenario = {
  name: 'first-boot-cuts',
  title: 'Power cuts while a device makes its secrets: silent until OPEN, and what its owners open lets them in',
  short: true,
  onlyOn: 'debian',
  takesCuts: true,
  async run(lab) {
    const count = lab.wishes.cuts ?? SHORT_CUTS;
    const planned = planRotationCuts(count, lab.random);
    const recorded = await RecordedRotation.record(lab, planned);
    try {
      await cutEach(lab, recorded, planned);
    } finally {
      // It may be stopped still, and others need it.
      await lab.world.stopServer();
      await lab.world.startServer();
    }
  },
};

async function cutEach(
  lab: ScenarioLab,
  recorded: RecordedRotation,
  planned: readonly PlannedRotationCut[],
): Promise<void> {
  const cuts: RotationCut[] = [];
  let lost = 0;
  for (const one of planned) {
    const name = `cut ${one.number} of ${planned.length}, seed ${lab.seed}, ${FLOWS[one.flow]}`;
    try {
      const cut = await recorded.cut(one);
      cuts.push(cut);
      lab.check(cut.wrong.length === 0, `${name}, ${describe(cut)}`);
    } catch (error) {
      lost += 1;
      lab.check(false, `${name}, meant for ${one.phase.name}: ${errorText(error)}`);
      if (lost >= LOST_AT_MOST) throw new Error(`${lost} cuts were not survived: the others are not tried`);
    }
  }
  sumUp(lab, planned, cuts);
}

function stateAtCut({ atCut: { record } }: RotationCut): string {
  if (record === undefined) return 'before its first record';
  return record.resume === null ? record.state : `${record.state} (${record.resume})`;
}

function describe(cut: RotationCut): string {
  const { planned, afterMs, atCut, opensAfterS, inEffect, wrong } = cut;
  const at = `in ${planned.phase.name} after ${(afterMs / 1000).toFixed(1)} s: ${stateAtCut(cut)}, epoch ${atCut.record?.epoch ?? 0}, on its disk`;
  if (wrong.length > 0) return `${at}; ${wrong.join('; ')}`;
  return `${at}; silent until OPEN after ${opensAfterS} s; epoch ${inEffect.epoch} in effect, its escrow opens and lets its owner in, the factory's and the former are refused`;
}

function sumUp(lab: ScenarioLab, planned: readonly PlannedRotationCut[], cuts: readonly RotationCut[]): void {
  const rows = cuts.map((cut): CountRow => {
    const { planned: one, afterMs, atCut, opensAfterS, inEffect, wrong, before } = cut;
    return {
      cut: one.number,
      of: FLOWS[one.flow],
      'meant for': one.phase.name,
      'after, s': Math.round(afterMs / 100) / 10,
      'on its disk': stateAtCut(cut),
      'epoch there': atCut.record?.epoch ?? 0,
      'OPEN after, s': opensAfterS,
      'to it before': before.received,
      'answers before': before.answers.length,
      'epoch in effect': inEffect.epoch ?? 'none',
      'does not hold': wrong.length,
    };
  });
  const good = cuts.filter(({ wrong }) => wrong.length === 0).length;
  const sum = (name: string): number => rows.reduce((total, row) => total + Number(row[name]), 0);
  const sums = {
    cut: `${good} of ${planned.length}`,
    'to it before': sum('to it before'),
    'answers before': sum('answers before'),
    'does not hold': sum('does not hold'),
  };
  lab.tables.push({ title: 'Power cuts while a device makes its secrets, and the boot after each', rows, sums });
  const states = Map.groupBy(cuts, stateAtCut);
  const spread = [...states].map(([state, here]) => `${here.length} in ${state}`).join(', ');
  lab.check(
    good === planned.length,
    `${good} of ${planned.length} cuts (${spread}, as the disk says): OPEN with one epoch's secrets, which its owners can open`,
  );
}
