/**
 * What every device needs, whatever its board: a runtime, a place for its state, a clock, a watchdog, something to trust,
 * an identity, a server. Looks only.
 */
import { constants } from 'node:fs';
import { access, statfs } from 'node:fs/promises';
import type { Disk } from '../../platform/disk.ts';
import type { AgentConfig } from '../config.ts';
import { readClaim } from '../credentials/claim.ts';
import { identityPaths, readIdentity } from '../credentials/identity.ts';
import { silentLog } from '../log.ts';
import { systemClock } from '../system-clock.ts';
import { bootstrapServer, knownServers } from '../transport/known-servers.ts';
import { ServerLink } from '../transport/server-link.ts';
import { ServerPool } from '../transport/server-pool.ts';
import { readTrustedRoot } from '../trusted-root.ts';
import { advice, type DoctorRow, examine, missing, ok } from './finding.ts';
import { checkSafety } from './safety-checks.ts';

const OLDEST_NODE = [22, 15] as const;

export async function checkMachine(config: AgentConfig, disk: Disk, watchdog = '/dev/watchdog'): Promise<DoctorRow[]> {
  const rows = [
    async () => [checkNode(process.versions.node)],
    () => examine('data-directory', () => checkData(config)),
    async () => [checkClock(config)],
    () => examine('safety', () => checkSafety(config, watchdog)),
    () => examine('trusted-root', () => checkRoot(config, disk)),
    () => examine('identity', () => checkIdentity(config, disk)),
    () => examine('server', () => checkServer(config, disk)),
  ];
  const found: DoctorRow[] = [];
  for (const check of rows) found.push(...(await check()));
  return found;
}

export function checkNode(version: string): DoctorRow {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1])) return ok('node', version);
  return missing(
    'node',
    `${version} is older than ${OLDEST_NODE.join('.')}`,
    'Put Node 22.15 or newer into the image.',
  );
}

async function checkData({ dataDirectory, health }: AgentConfig): Promise<DoctorRow[]> {
  await access(dataDirectory, constants.W_OK);
  const { bavail, bsize } = await statfs(dataDirectory);
  const { minFreeBytes } = health.builtin;
  const free = `${bavail * bsize} bytes are free, ${minFreeBytes} are needed`;
  const row =
    bavail * bsize >= minFreeBytes
      ? ok('free-space', free)
      : missing('free-space', free, 'Free some space on the data partition, or make it larger.');
  return [ok('data-directory', dataDirectory), row];
}

function checkClock({ clock }: AgentConfig): DoctorRow {
  if (systemClock(clock).wallUnixMs() !== undefined) return ok('clock', 'synchronised');
  return advice(
    'clock',
    'not synchronised: releases install without proof of freshness',
    'Enable systemd-timesyncd and give it a server, or set "clock": "host" where other means keep the time.',
  );
}

async function checkRoot(config: AgentConfig, disk: Disk): Promise<DoctorRow[]> {
  const { version, expires, holdfast } = await readTrustedRoot(disk, silentLog, config);
  return [ok('trusted-root', `version ${version}, ${holdfast.environment}, until ${expires}`)];
}

export async function checkIdentity({ dataDirectory, claimFile }: AgentConfig, disk: Disk): Promise<DoctorRow[]> {
  const identity = await readIdentity(disk, identityPaths(dataDirectory));
  if (identity !== undefined) return [ok('identity', `enrolled as ${identity.deviceId}`)];
  const { claimId } = await readClaim(disk, claimFile);
  return [
    advice(
      'identity',
      `not enrolled yet; holds the claim ${claimId}`,
      'Run holdfast-agent enrol, or let the agent do it.',
    ),
  ];
}

async function checkServer(config: AgentConfig, disk: Disk): Promise<DoctorRow[]> {
  const bootstrap = await bootstrapServer(disk, config);
  const known = await readTrustedRoot(disk, silentLog, config).then(
    (root) => knownServers(bootstrap, root),
    () => [bootstrap],
  );
  const identity = await readIdentity(disk, identityPaths(config.dataDirectory)).catch(() => undefined);
  const pool = new ServerPool(known, { identity: () => identity });
  try {
    const where = known.map(({ url }) => url).join(', ');
    if (await new ServerLink(pool).reachable()) return [ok('server', where)];
    return [
      missing(
        'server',
        `no answer that can be believed from ${where}`,
        'Check network, address, and that anchorsFile holds the authority of this server.',
      ),
    ];
  } finally {
    pool.close();
  }
}
