import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROLLOUT_VERBS } from '../../../protocol/operator-api.ts';
import { documents, ROOT, readProjectFile } from './project-files.ts';

/** `keys init`, `explain` …: every command that cli/commands declares. */
async function knownCommands(): Promise<Set<string>> {
  const known = new Set<string>();
  for (const file of await readdir(join(ROOT, 'cli/commands'))) {
    const text = await readProjectFile(`cli/commands/${file}`);
    const groups = new Map<string, string>();
    const declarations =
      /const (\w+) = addGroup\((\w+), '([a-z]+)'|addCommand\((\w+), \{\s*usage: [`'](\$\{verb\}|[a-z]+)/g;
    for (const [, variable, above = '', name = '', parent = '', verb = ''] of text.matchAll(declarations)) {
      if (variable !== undefined) {
        // A group within a group (`escrow key`) comes in as a parameter that is called what the outer one is.
        groups.set(variable, above === 'program' ? name : `${above} ${name}`);
        if (above !== 'program') known.add(`${above} ${name}`);
        continue;
      }
      // Verbs of a rollout come from a list of the protocol.
      const verbs = verb.startsWith('$') ? ROLLOUT_VERBS : [verb];
      // A group that comes in as a parameter is the file's only one, or the one that the file is named after.
      const own = /addGroup\(program, '([a-z]+)'/.exec(text)?.[1] ?? /^([a-z]+)-/.exec(file)?.[1];
      const group = parent === 'program' ? undefined : (groups.get(parent) ?? own);
      for (const each of verbs) known.add(group === undefined ? each : `${group} ${each}`);
    }
  }
  return known;
}

async function sourceFiles(): Promise<string[]> {
  const found: string[] = [];
  for (const folder of ['agent', 'cli', 'emulator', 'keys', 'platform', 'protocol', 'scripts', 'update-server']) {
    const names = await readdir(join(ROOT, folder), { recursive: true });
    found.push(...names.filter((name) => /\.(ts|html|js)$/.test(name)).map((name) => `${folder}/${name}`));
  }
  return found;
}

const GROUPS = 'keys|escrow|credentials|evidence|release|rollout|devices|tokens|audit|dev|image';

describe('commands that messages and documents tell a person to type', async () => {
  const known = await knownCommands();

  it('are read from cli/commands', () => {
    for (const command of [
      'keys init',
      'keys root',
      'escrow key',
      'release sign',
      'rollout resume',
      'explain',
      'login',
    ])
      expect([...known]).toContain(command);
  });

  it('exist', async () => {
    const unknown: string[] = [];
    for (const path of [...(await documents()), ...(await sourceFiles())]) {
      for (const [, group = '', verb = ''] of (await readProjectFile(path)).matchAll(
        new RegExp(`holdfast (${GROUPS}) ([a-z]+)`, 'g'),
      )) {
        if (!known.has(`${group} ${verb}`)) unknown.push(`${path}: holdfast ${group} ${verb}`);
      }
    }
    expect(unknown, unknown.join('; ')).toEqual([]);
  });
});
