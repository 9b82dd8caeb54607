/**
 * `holdfast-agent firstboot`: runs the first boot to its rest and says what is true now and what comes next; with
 * `--status`, says it and changes nothing. Exit 0 only when this boot is open, 4 when it is blocked.
 */
import { parseArgs } from 'node:util';
import { nodeDisk } from '../../platform/disk.ts';
import { EXIT, errorText, Fault } from '../../platform/fault.ts';
import type { CredentialEntry } from '../../protocol/credentials.ts';
import { readConfig } from '../config.ts';
import { stderrLog } from '../log.ts';
import type { FirstBootRest } from './first-boot.ts';
import { firstBootConfigOf } from './first-boot-config.ts';
import { FACTORY_RECORD, type FirstBootRecord, firstBootDirectory, firstBootRecord } from './first-boot-record.ts';
import { openFirstBoot } from './open-first-boot.ts';
import { askRotation } from './requests.ts';
import { cureOf, troubleOf } from './trouble.ts';
import { wire } from './wiring.ts';

export const FIRST_BOOT_USAGE = `holdfast-agent firstboot: gives this device secrets of its own, or keeps it closed

  holdfast-agent firstboot --config FILE [--json]
      State, epoch and credentials of this device. Changes nothing.
  holdfast-agent firstboot --boot --config FILE [--json]
      Replaces passwords, keys and ids of the machine it runs on. For holdfast-firstboot.service, at every boot, before
      anything listens. Ends with 0 when this boot is open, with 4 when it is blocked.
  holdfast-agent firstboot --rotate --config FILE [--json]
      The next boot makes every secret of this device anew.

  --debug   a stack trace when something fails      --help
exit: 0 open · 2 usage · 3 a file or setting is wrong · 4 blocked: closed, and tried again · 5 this machine
`;

interface Words {
  readonly config: string;
  readonly json: boolean;
  readonly boot: boolean;
  readonly rotate: boolean;
}

/** `words`: those behind `firstboot`. */
export async function firstBootCommand(words: readonly string[]): Promise<number> {
  const line = decode(words);
  if (line === 'help') {
    process.stdout.write(FIRST_BOOT_USAGE);
    return EXIT.ok;
  }
  if (line.boot) return run(line);
  return line.rotate ? rotate(line) : status(line);
}

async function rotate({ config: path, json }: Words): Promise<number> {
  const config = await readConfig(nodeDisk, path);
  firstBootConfigOf(config);
  await askRotation(nodeDisk, firstBootDirectory(config.dataDirectory));
  const next = 'reboot: the next boot makes them';
  process.stdout.write(json ? `${JSON.stringify({ ok: true, next })}\n` : `new secrets are asked for\nnext: ${next}\n`);
  return EXIT.ok;
}

async function run({ config: path, json }: Words): Promise<number> {
  const config = await readConfig(nodeDisk, path);
  const { firstBoot, board } = await openFirstBoot(config, stderrLog);
  const rest = await firstBoot.run();
  const facts = { ok: rest.rest === 'open', rest: rest.rest, ...factsOf(rest.record) };
  process.stdout.write(json ? `${JSON.stringify(facts)}\n` : `${describeRest(rest).join('\n')}\n`);
  if (rest.rest === 'reboot') await board.requestReboot();
  return rest.rest === 'open' ? EXIT.ok : EXIT.refused;
}

function factsOf({ state, epoch, trouble, opened, movedFrom, escrow }: FirstBootRecord): Record<string, unknown> {
  return { state, epoch, trouble, openedBootId: opened?.bootId ?? null, movedFrom, escrow };
}

function describeRest(rest: FirstBootRest): string[] {
  const { epoch, movedFrom } = rest.record;
  if (rest.rest !== 'open') {
    const { provider, code, detail } = rest.trouble;
    return [
      `BLOCKED: this device stays closed [${code}]`,
      `  where: ${provider ?? 'first boot'}: ${detail}`,
      `  cure: ${cureOf(rest.trouble)}`,
      rest.rest === 'reboot'
        ? 'next: it reboots now, and checks again'
        : 'next: it is tried again; a repair release can still arrive',
    ];
  }
  return [
    `OPEN: every secret in effect is this device's own (epoch ${epoch})`,
    ...(movedFrom === null ? [] : ['note: this data was made on another board; the server has to approve it']),
    'next: logins and listeners may start; the agent enrols and reports',
  ];
}

async function status({ config: path, json }: Words): Promise<number> {
  const config = await readConfig(nodeDisk, path);
  const { providers } = await wire(config, firstBootConfigOf(config), stderrLog);
  const reading = await firstBootRecord(nodeDisk, firstBootDirectory(config.dataDirectory)).read();
  const record = reading.found === 'whole' ? reading.value : FACTORY_RECORD;
  const credentials: CredentialEntry[] = [];
  const unreadable: string[] = [];
  for (const provider of providers) {
    try {
      credentials.push(...(await provider.inspect()));
    } catch (error) {
      unreadable.push(`${provider.name}: ${troubleOf(error, provider.name).detail}`);
    }
  }
  if (json)
    process.stdout.write(
      `${JSON.stringify({ ok: true, record: reading.found, ...factsOf(record), credentials, unreadable })}\n`,
    );
  else process.stdout.write(`${describeStatus(record, reading.found, credentials, unreadable).join('\n')}\n`);
  return EXIT.ok;
}

function describeStatus(
  { state, epoch, resume, trouble, opened }: FirstBootRecord,
  found: string,
  credentials: readonly CredentialEntry[],
  unreadable: readonly string[],
): string[] {
  const lines = [
    `state       ${state}${resume === null ? '' : ` (tries ${resume} again)`} · epoch ${epoch}${found === 'whole' ? '' : ` · record ${found}`}`,
    `last open   ${opened === null ? 'never' : `boot ${opened.bootId} in slot ${opened.slot}`}`,
  ];
  if (trouble !== null)
    lines.push(
      `trouble     ${trouble.provider ?? 'first boot'}: ${trouble.detail} [${trouble.code}]`,
      `  cure: ${cureOf(trouble)}`,
    );
  for (const one of credentials) lines.push(`credential  ${one.name}: ${one.state}, epoch ${one.epoch}`);
  for (const line of unreadable) lines.push(`unreadable  ${line}`);
  return lines;
}

function decode(words: readonly string[]): Words | 'help' {
  const options = {
    config: { type: 'string' },
    boot: { type: 'boolean', default: false },
    rotate: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    debug: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  } as const;
  try {
    const { values } = parseArgs({ args: [...words], options, strict: true });
    if (values.help) return 'help';
    if (values.boot && values.rotate) throw new Error('give --boot or --rotate, not both');
    if (values.config !== undefined) return { ...values, config: values.config };
  } catch (error) {
    throw usage(errorText(error).split('. ')[0] ?? '');
  }
  throw usage('firstboot needs --config FILE');
}

function usage(what: string): Fault {
  return new Fault({ code: 'usage', what, cure: 'See holdfast-agent firstboot --help.', exitStatus: EXIT.usage });
}
