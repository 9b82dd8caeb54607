import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { FIRST_BOOT_SCENARIOS } from '../../../../scripts/qemu/first-boot/scenarios.ts';
import { buildSabotaged, SABOTAGES } from '../../../../scripts/qemu/sabotage.ts';
import { SCENARIOS } from '../../../../scripts/qemu/scenarios.ts';

it.each(SABOTAGES.map((sabotage) => [sabotage.name, sabotage] as const))(
  '%s: the source still reads as it expects, and the agent that comes of it is another one',
  async (_, sabotage) => {
    const folder = await mkdtemp(join(tmpdir(), 'sabotage-'));
    await buildSabotaged(sabotage, join(folder, 'agent.mjs'));
    await buildSabotaged({ ...sabotage, changes: [] }, join(folder, 'sound.mjs'));
    const [wrong, sound] = [await readFile(join(folder, 'agent.mjs')), await readFile(join(folder, 'sound.mjs'))];
    expect(wrong.equals(sound)).toBe(false);
  },
);

it.each(SABOTAGES.map(({ name, noticedBy }) => [name, noticedBy] as const))(
  '%s: something that exists must notice it',
  (_, { scenarios, cuts, losses }) => {
    const known = [...SCENARIOS, ...FIRST_BOOT_SCENARIOS].map(({ name }) => name);
    for (const name of scenarios) expect(known).toContain(name);
    expect(scenarios.length + cuts + losses).toBeGreaterThan(0);
  },
);
