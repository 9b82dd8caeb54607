/**
 * Writes docs/FIRST_BOOT_MACHINE.md from the agent's table: the picture, what each state means, every transition.
 *
 *   sh scripts/with-node.sh scripts/generate-first-boot-machine.ts
 *
 * test/unit/docs/first-boot-machine.test.ts fails when the document and the table differ.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import {
  FIRST_BOOT_EVENTS,
  FIRST_BOOT_MACHINE,
  type FirstBootEvent,
  type FirstBootState,
  nextFirstBoot,
} from '../agent/core/first-boot-machine.ts';
import { type MachineTable, meaningTable, picture, transitionTable } from './documents/state-machine.ts';

const SOURCE = fileURLToPath(new URL('../agent/core/first-boot-machine.ts', import.meta.url));
export const DOCUMENT = fileURLToPath(new URL('../docs/FIRST_BOOT_MACHINE.md', import.meta.url));

const MACHINE: MachineTable = {
  states: Object.keys(FIRST_BOOT_MACHINE),
  events: FIRST_BOOT_EVENTS,
  always: ['failed', 'reset', 'other-board'],
  first: 'factory',
  next: (state, event) => {
    const step = nextFirstBoot(state as FirstBootState, event as FirstBootEvent);
    return 'illegal' in step ? undefined : step;
  },
};

/** The whole document. */
export async function firstBootMachineDocument(): Promise<string> {
  const source = await readFile(SOURCE, 'utf8');
  return `# The first-boot machine

Generated from \`agent/core/first-boot-machine.ts\` by \`scripts/generate-first-boot-machine.ts\`. Do not edit: a test compares.
Why it is so: [adr/0021-first-boot.md](adr/0021-first-boot.md).

\`\`\`mermaid
${picture(MACHINE)}
\`\`\`

Every state also answers \`failed\` (blocked, closed, tried again), \`reset\` and \`other-board\` (a new epoch). A pair that is not in
the table is an illegal transition: a bug, after which nothing opens.

## What each state means

${meaningTable(MACHINE, source)}

## Transitions

The executor writes the next state and its effects to the record before it runs the first of them. Every effect may run
twice; the last one that has an outcome yields the next event. A start in \`factory\` or \`clone-suspected\` goes on with what the
record still owes; anywhere else it is the event \`started\`. A blocked device starts as in the state that its record resumes.
A \`wipe\` or \`retire-identity\` that is owed goes along into a new epoch, before anything is made.

${transitionTable(MACHINE)}
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await writeFile(DOCUMENT, await firstBootMachineDocument());
  process.stdout.write(`${DOCUMENT}\n`);
}
