/**
 * Boards that stay, for a person to try things with: enrolled devices, a good and a bad release that are published and
 * given to nobody yet, the server's page and commands; and the power of each, under the person's hand.
 */
import { createInterface } from 'node:readline';
import { errorText } from '../../platform/fault.ts';
import { say } from '../demo/terminal.ts';
import type { Guest } from './guest.ts';
import type { ScenarioLab } from './scenario.ts';

const HELP = 'cut DEVICE ends its power, on DEVICE gives it back; Ctrl-C ends everything';

/** Until `stop`. */
export async function stayWith(lab: ScenarioLab, count: number, stop: Promise<void>): Promise<void> {
  const { world } = lab;
  const guests: Guest[] = [];
  for (let number = 1; number <= count; number += 1) guests.push(await lab.newGuest());
  for (const guest of guests) await guest.powerOn();
  for (const guest of guests) await guest.settlesOn(world.factory.version);
  lab.check(true, `enrolled and idle: ${guests.map(({ id }) => id).join(', ')}`);
  const [good, bad] = [await lab.publish(''), await lab.publish('panic')];
  const tokenFile = world.path('page.token');
  const wanted = ['tokens', 'create', 'page', '--role', 'viewer', '--out', tokenFile];
  await world.words.holdfast(wanted, { quiet: true });

  const [first] = guests;
  const start = (path: string): string =>
    `bin/holdfast rollout start ${path} --waves 100% --timeout 60m ${guests.map(({ id }) => `--device ${id}`).join(' ')}`;
  say('\nIn another terminal, from this folder:');
  say(`  export HOLDFAST_HOME=${world.path('operator')}`);
  say(`  ${start(good.path)}     # ${good.version}, which works`);
  say(`  ${start(bad.path)}     # ${bad.version}, whose kernel panics: it is given up`);
  say(`  bin/holdfast explain ${first?.id ?? ''}`);
  say(`  tail -f ${first?.serialFile ?? ''}`);
  say(`The page: ${world.pageUrl}, sign in with the token in ${tokenFile}`);
  say(`Here: ${HELP}`);
  await Promise.race([stop, obey(guests)]);
}

/** Never resolves: a person who closes the input has not asked for an end. */
async function obey(guests: readonly Guest[]): Promise<never> {
  const lines = createInterface({ input: process.stdin });
  for await (const line of lines) {
    try {
      const answer = await obeyLine(line.trim(), guests);
      if (answer !== '') say(answer);
    } catch (error) {
      say(errorText(error));
    }
  }
  return new Promise(() => {});
}

async function obeyLine(line: string, guests: readonly Guest[]): Promise<string> {
  if (line === '') return '';
  const [word, id, ...more] = line.split(/\s+/);
  const guest = guests.find((one) => one.id === id);
  if (guest === undefined || more.length > 0) return `${HELP}. Devices: ${guests.map((one) => one.id).join(', ')}`;
  if (word === 'cut') await guest.cutPower();
  else if (word === 'on' && guest.isOn) return `${guest.id} is on`;
  else if (word === 'on') await guest.powerOn();
  else return HELP;
  return `${guest.id}: ${word === 'cut' ? 'off' : 'on'}`;
}
