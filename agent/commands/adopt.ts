/**
 * `adopt`: what taking this machine over would change, and nothing more; `--yes` does it, `--undo` takes it back.
 * Exit 4 when something is missing for it.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { nodeDisk } from '../../platform/disk.ts';
import { EXIT } from '../../platform/fault.ts';
import { Adopter, type Adoption, UNIT } from '../adopt/adoption.ts';
import { type Places, survey } from '../adopt/survey.ts';
import type { CommandOptions } from '../command-options.ts';
import { describeRows } from '../doctor/finding.ts';

export async function adoptCommand(options: CommandOptions): Promise<number> {
  const live = existsSync('/run/systemd/system');
  const places: Places = {
    config: options.config,
    units: '/etc/systemd/system',
    root: '/',
  };
  const adopter = new Adopter(nodeDisk, join(dirname(options.config), 'adopted.json'), live);
  const standing = await adopter.standing();
  if (options.undo) return undone(options, await adopter.undo(standing));
  const found = await survey(places, nodeDisk, options.answers);
  // What an earlier run recorded is what this one finishes.
  const plan = standing ?? (found.plan && { ...found.plan, unit: await adopter.unitNow() });
  const fit = plan !== undefined && found.rows.every(({ state }) => state !== 'missing');
  const done = fit && options.yes;
  if (done) await adopter.adopt(plan);
  const changes = plan === undefined ? [] : describe(plan, live);
  const next = done
    ? `holdfast-agent doctor --config ${options.config}`
    : `${fit ? '' : 'cure what is missing, then '}holdfast-agent adopt --yes${options.answers === undefined ? '' : ` --answers ${options.answers}`}`;
  if (options.json)
    say(JSON.stringify({ ok: fit, adopted: done || standing !== undefined, rows: found.rows, changes, next }));
  else
    say(
      `${describeRows(found.rows)}\n${done ? 'changed' : 'would change'}:\n${changes.map((line) => `  ${line}\n`).join('')}  nothing else: no login, no firewall, no boot setting\nnext: ${next}`,
    );
  return fit ? EXIT.ok : EXIT.refused;
}

function describe({ directories, files, unit }: Adoption, live: boolean): string[] {
  return [
    ...directories.map(({ path }) => `make ${path}/`),
    ...files.map(({ path }) => `write ${path}`),
    ...(unit.enabled ? [] : [`enable ${UNIT}`]),
    ...(unit.active ? [] : [live ? `start ${UNIT}` : `${UNIT} starts at the next boot`]),
  ];
}

function undone(options: CommandOptions, left: readonly string[]): number {
  say(options.json ? JSON.stringify({ ok: true, adopted: false, left }) : ['not adopted', ...left].join('\nleft: '));
  return EXIT.ok;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
