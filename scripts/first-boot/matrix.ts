/** One boot for each row of the fault matrix: a device of its own, broken as the row says, looked at, judged. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Container } from './container.ts';
import { makeDevice } from './device-files.ts';
import type { FaultRow } from './faults.ts';
import { Wires } from './links.ts';
import { type Look, look, WAYS } from './looks.ts';
import { Stranger } from './stranger-words.ts';

const BOOT_LIMIT_MS = 240_000;
/** After the last unit: cards come up, addresses are tried for duplicates. */
const SETTLE_MS = 3000;

export interface JudgedRow extends Look {
  readonly name: string;
  readonly ok: boolean;
  readonly expected: FaultRow['expected'];
  readonly findings: readonly string[];
  readonly seconds: number;
}

export interface MatrixPlaces {
  /** A Debian root, never written. */
  readonly kept: string;
  /** For what a run makes. */
  readonly folder: string;
}

export async function runRow(fault: FaultRow, { kept, folder }: MatrixPlaces): Promise<JudgedRow> {
  const startedMs = performance.now();
  const place = join(folder, fault.name.replaceAll(/\W+/g, '-'));
  await mkdir(place, { recursive: true });
  const container = await Container.make(kept, place);
  let wires: Wires | undefined;
  let stranger: Stranger | undefined;
  try {
    wires = await Wires.lay(`holdfast-${process.pid}`);
    stranger = await Stranger.start(wires.stranger);
    await makeDevice(container.root, fault.firstBoot, fault.bare !== true);
    await fault.plant?.(container.root);
    await container.powerOn(wires.device);
    await fault.act?.(container);
    await settles(container);
    const also = (await fault.alsoSeen?.(container)) ?? [];
    const { meanwhile } = fault;
    const seen = await look(container, stranger, fault.expected, meanwhile && (() => meanwhile(container)));
    const findings = [...also, ...judge(fault, seen)];
    if (findings.length > 0) findings.push(...(await evidence(container)));
    const { name, expected } = fault;
    const seconds = Math.round((performance.now() - startedMs) / 1000);
    return { name, ok: findings.length === 0, expected, findings, seconds, ...seen };
  } finally {
    await container.remove();
    await stranger?.end();
    await wires?.cut();
  }
}

/** A boot has come to its end: what is closed then is not closed because nothing has started yet. */
async function settles(container: Container): Promise<void> {
  if (!(await container.becomes('multi-user.target', ['active'], BOOT_LIMIT_MS))) {
    throw new Error(`the boot does not end; its console: ${(await container.console()).slice(-1000)}`);
  }
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
}

export function judge({ expected, answers, wayOut }: FaultRow, seen: Look): string[] {
  const findings = WAYS.filter((way) => seen.seen[way] !== expected[way]).map(
    (way) => `${way} is ${seen.seen[way]}, and must be ${expected[way]}`,
  );
  if (!answers && seen.answers.length > 0) findings.push(`answers a stranger: ${seen.answers.join(', ')}`);
  if (answers && seen.answers.length === 0) findings.push('answers nobody, and should: the look itself is broken');
  if (wayOut !== seen.wayOut) findings.push(`its way to the server is ${seen.wayOut ? 'there' : 'shut'}`);
  return findings;
}

/** For whoever has to find out why. */
async function evidence(container: Container): Promise<string[]> {
  const failed = await container.run('systemctl', '--failed', '--plain', '--no-legend');
  const said = await container.run('journalctl', '--boot', '--no-pager', '--lines=30', '--unit=holdfast-*');
  return [failed.stdout, said.stdout].flatMap((text) => text.trim().split('\n')).map((line) => `  ${line}`);
}
