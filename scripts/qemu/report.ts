/** The report of a run of the lab: JSON for machines, and a page beside it for people, with a timeline of each device. */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { TimelineEntry } from './guest.ts';
import type { CountTable, Finding, JudgedBoot } from './scenario.ts';

export interface GuestReport {
  readonly id: string;
  readonly timeline: readonly TimelineEntry[];
  readonly serialFile: string;
}

export interface ScenarioReport {
  readonly name: string;
  readonly title: string;
  readonly ok: boolean;
  readonly seconds: number;
  readonly findings: readonly Finding[];
  /** Of a campaign: every boot, with what came before it. */
  readonly boots: readonly JudgedBoot[];
  readonly tables: readonly CountTable[];
  readonly guests: readonly GuestReport[];
}

export interface LabReport {
  readonly ok: boolean;
  readonly seconds: number;
  /** The lab's, or whose image was tried. */
  readonly kernel: string;
  readonly scenarios: readonly ScenarioReport[];
}

export async function writeReport(file: string, report: LabReport): Promise<string> {
  const path = resolve(file);
  await writeFile(path, `${JSON.stringify(report, null, 2)}\n`);
  return path;
}
