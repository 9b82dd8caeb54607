/** What documents say of a table of states, in Markdown and Mermaid: the picture, what each state means, every transition. */

export interface MachineTable {
  readonly states: readonly string[];
  readonly events: readonly string[];
  /** Answered by every state in the same words; drawn in words, not in arrows. */
  readonly always: readonly string[];
  readonly first: string;
  readonly next: (state: string, event: string) => Step | undefined;
}

interface Step {
  readonly state: string;
  readonly effects: readonly string[];
}

export const stateInPicture = (state: string): string => state.replaceAll('-', '_');

/** Arrows as the table has them, and `more` behind. */
export function picture(machine: MachineTable, more: readonly string[] = []): string {
  const lines = ['stateDiagram-v2', `  [*] --> ${stateInPicture(machine.first)}`];
  for (const state of machine.states) {
    const targets = new Map<string, string[]>();
    for (const event of machine.events) {
      const step = machine.next(state, event);
      if (step === undefined || machine.always.includes(event)) continue;
      targets.set(step.state, [...(targets.get(step.state) ?? []), event]);
    }
    for (const [target, events] of targets)
      lines.push(`  ${stateInPicture(state)} --> ${stateInPicture(target)}: ${events.join(', ')}`);
  }
  return [...lines, ...more].join('\n');
}

/** The one-line comment above each state's row in the source: what is true on disk, and what a power cut leads to. */
export function meaningTable({ states }: MachineTable, source: string): string {
  const rows = states.map((state) => {
    const row = new RegExp(`^ {2}// (.+)\\n {2}'?${state}'?: \\{$`, 'm').exec(source);
    if (row?.[1] === undefined) throw new Error(`state ${state} has no one-line comment above its row`);
    return `| ${state} | ${row[1]} |`;
  });
  return ['| state | what is true on disk, and what a power cut here leads to |', '| --- | --- |', ...rows].join('\n');
}

export function transitionTable({ states, events, next }: MachineTable): string {
  const rows = states.flatMap((state) =>
    events.flatMap((event) => {
      const step = next(state, event);
      return step === undefined ? [] : [`| ${state} | ${event} | ${step.state} | ${step.effects.join(', ') || '–'} |`];
    }),
  );
  return ['| state | event | next | effects, in order |', '| --- | --- | --- | --- |', ...rows].join('\n');
}
