/** Which boots a campaign consists of, and what a device's console says of how far its first boot has come. */
import { FirstBootState } from '../../../protocol/credentials.ts';
import type { SerialLine } from '../serial-log.ts';

/** `fresh`: straight from the factory. `later`: it has secrets of its own. `after-cut`: its first boot lost its power. */
export type BootKind = 'fresh' | 'later' | 'after-cut';

export interface PlannedBoot {
  /** From 1 on, over the whole campaign. */
  readonly number: number;
  readonly kind: BootKind;
}

/** A device of five boots each: most are fresh, and the first three are one of each kind. */
const DEVICES: readonly (readonly BootKind[])[] = [['fresh', 'later'], ['after-cut'], ['fresh'], ['fresh']];

/** A campaign's boots, by device: whatever a device does later, it does in this order. */
export function planBoots(count: number): PlannedBoot[][] {
  const plan: PlannedBoot[][] = [];
  for (let number = 1; number <= count; ) {
    const kinds = DEVICES[plan.length % DEVICES.length] ?? [];
    const boots = kinds.slice(0, count - number + 1).map((kind, index) => ({ number: number + index, kind }));
    plan.push(boots);
    number += boots.length;
  }
  return plan;
}

/** A line of the first boot's log that says where it has come to. */
const STEP = /"message":"first boot","event":"[a-z-]+","state":"([a-z-]+)"/;

/** What the console said last; undefined: its first boot has not begun. */
export function stateSaid(lines: readonly SerialLine[]): FirstBootState | undefined {
  for (const { text } of lines.toReversed()) {
    const said = STEP.exec(text)?.[1];
    const state = FirstBootState.options.find((one) => one === said);
    if (state !== undefined) return state;
  }
  return undefined;
}
