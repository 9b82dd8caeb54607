/**
 * Writes docs/INSTALL_MACHINE.md from the tables of the agent: the picture, what each state means, and boot recovery.
 *
 *   sh scripts/with-node.sh scripts/generate-install-machine.ts
 *
 * test/unit/docs/install-machine.test.ts fails when the document and the tables differ.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { RECOVERY_RULES, type RecoveryRule } from '../agent/core/boot-recovery.ts';
import {
  EVENT_KINDS,
  type EventKind,
  INSTALL_MACHINE,
  type InstallState,
  next,
} from '../agent/core/install-machine.ts';
import {
  type MachineTable,
  meaningTable,
  picture,
  stateInPicture,
  transitionTable,
} from './documents/state-machine.ts';

const MACHINE_SOURCE = fileURLToPath(new URL('../agent/core/install-machine.ts', import.meta.url));
export const DOCUMENT = fileURLToPath(new URL('../docs/INSTALL_MACHINE.md', import.meta.url));

const STATES = Object.keys(INSTALL_MACHINE) as InstallState[];
/** Answered by every state; drawn in words, not in arrows. */
const ALWAYS = ['halt', 'superseded', 'root-rotated'] as const;

const MACHINE: MachineTable = {
  states: STATES,
  events: EVENT_KINDS,
  always: ALWAYS,
  first: 'idle',
  next: (state, event) => {
    const step = next(state as InstallState, event as EventKind);
    return 'illegal' in step ? undefined : step;
  },
};

/** The ordinary ways from one boot to the next; the others stand in the table of boot recovery. */
function arrowsOfBoot(rule: RecoveryRule): string[] {
  const { state, quarantine } = rule.gives;
  if (rule.journal === '*' || (state !== 'trial' && !quarantine)) return [];
  const from = rule.journal.filter((journal) => journal !== 'damaged').filter((journal) => journal !== state);
  return from.map((journal) => `  ${stateInPicture(journal)} --> ${stateInPicture(state)}: boot, ${rule.name}`);
}

function ruleRow(rule: RecoveryRule): string {
  const list = (match: readonly string[] | '*') => (match === '*' ? 'any' : match.join(', '));
  const flag = (value: boolean | '*') => (value === '*' ? 'any' : value ? 'yes' : 'no');
  const { state, effects, reason, quarantine } = rule.gives;
  const does = effects === 'as-journaled' ? 'what the journal owes' : effects.join(', ');
  const why = quarantine ? `${reason} (quarantined)` : reason || '–';
  const when = [rule.booted === '*' ? 'any' : rule.booted, flag(rule.onTrial), list(rule.flag), list(rule.journal)];
  return `| ${rule.name} | ${when.join(' | ')} | ${flag(rule.belowFloor)} | ${state} | ${does} | ${why} |`;
}

function recoveryTable(): string {
  const head = '| rule | booted | on trial | flag | journal | below floor | state | does | reason |';
  return [head, `|${' --- |'.repeat(9)}`, ...RECOVERY_RULES.map(ruleRow)].join('\n');
}

/** The whole document. */
export async function installMachineDocument(): Promise<string> {
  const source = await readFile(MACHINE_SOURCE, 'utf8');
  return `# The install machine

Generated from \`agent/core/install-machine.ts\` and \`agent/core/boot-recovery.ts\` by \`scripts/generate-install-machine.ts\`.
Do not edit: a test compares.

\`\`\`mermaid
${picture(MACHINE, RECOVERY_RULES.flatMap(arrowsOfBoot))}
\`\`\`

Every state also answers ${ALWAYS.map((event) => `\`${event}\``).join(', ')}: up to and with \`armed\` they call the update off or begin it
again (\`armed\` disarms first); from \`trial\` on the device's own checks decide, and the three change nothing. A pair that
is not in the table is an illegal transition: a bug, on which nothing is changed.

## What each state means

${meaningTable(MACHINE, source)}

## Transitions

The executor writes the next state and its effects to the journal before it runs the first of them. Every effect may run
twice; the last one that has an outcome yields the next event.

${transitionTable(MACHINE)}

## Boot recovery

Read when the agent starts. First match wins; no match is a safe hold (\`held\`, nothing is written or armed) and a report.
\`booted\` is seen from the update that the journal speaks of: \`target\` is the slot that it writes to. \`flag\` is the
bootloader's trial flag: \`spent\` when every attempt was used up.

${recoveryTable()}

## When the network is lost

A server that cannot be reached never fails a trial if it could not be reached before the trial, or if the release came
offline. Otherwise the trial waits for it, up to a limit, then goes back without quarantine. After the third such return
the action ends (\`network-returns-exhausted\`): each time the server was there before the trial, so the release may be what
cuts the device off, and confirming it unseen would be worse than waiting for a person. A new action lets it try again.
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await writeFile(DOCUMENT, await installMachineDocument());
  process.stdout.write(`${DOCUMENT}\n`);
}
