/** What this machine is, in one line, when the server asks (`report-inventory`). No serial numbers, no addresses. */

import { statfs } from 'node:fs/promises';
import { arch, release, totalmem } from 'node:os';
import type { ReportEvent } from '../protocol/device-api.ts';
import { AGENT_VERSION } from './version.ts';

export async function inventory(dataDirectory: string): Promise<ReportEvent> {
  const { bavail, blocks, bsize } = await statfs(dataDirectory);
  const facts = {
    agent: AGENT_VERSION,
    node: process.versions.node,
    kernel: release().slice(0, 64),
    arch: arch(),
    memoryMb: Math.round(totalmem() / 2 ** 20),
    dataMb: Math.round((blocks * bsize) / 2 ** 20),
    dataFreeMb: Math.round((bavail * bsize) / 2 ** 20),
  };
  return { kind: 'notice', code: 'inventory', detail: JSON.stringify(facts).slice(0, 512) };
}
