/** `holdfast evidence`: what the fleet's statements speak for, as a document for whoever judges the product. */
import type { Command } from 'commander';
import type { CredentialsAnswer } from '../../protocol/operator-api.ts';
import { addCommand, addGroup, type Finish, type Outcome, onRun } from '../command.ts';
import { PROVISIONS } from '../evidence/provisions.ts';
import type { Output } from '../output.ts';
import { withServer } from '../session.ts';

/** Says it in every document: a row that holds is no conformity. */
const MEANING = 'evidence for, never a verdict: devices say this of themselves, and much else decides';

function credentials(out: Output): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const known: CredentialsAnswer['devices'] = [];
    for (let after: string | undefined, more = true; more; ) {
      const page = await api.credentials(after);
      known.push(...page.devices);
      after = page.next ?? undefined;
      more = page.next !== null;
    }
    const provisions = PROVISIONS.map(({ holds, ...row }) => {
      const not = known.filter((one) => !holds(one.credentials)).map(({ deviceId }) => deviceId);
      return { ...row, devices: known.length, holdFor: known.length - not.length, notFor: not };
    });
    out.table([
      ['standard', 'clause', 'holds for', 'about'],
      ...provisions.map(({ standard, clause, holdFor, devices, about }) => [
        standard,
        clause,
        `${holdFor} of ${devices}`,
        about,
      ]),
    ]);
    out.say();
    out.say(`This is ${MEANING} (docs/EVIDENCE.md).`);
    const devices = known.map(({ deviceId, credentials: one }) => ({ deviceId, ...one }));
    return { document: { format: 'holdfast-evidence-1', meaning: MEANING, provisions, devices } };
  });
}

export function addEvidenceCommands(program: Command, finish: Finish): void {
  const group = addGroup(program, 'evidence', 'what the fleet speaks for, for whoever judges the product');
  const command = addCommand(group, {
    usage: 'credentials',
    summary: 'passwords and keys of all enrolled devices, provision by provision',
    examples: ['holdfast evidence credentials', 'holdfast evidence credentials --json > evidence.json'],
  });
  onRun(command, finish, (out) => credentials(out));
}
