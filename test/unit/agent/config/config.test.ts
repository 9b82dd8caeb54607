import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readConfig } from '../../../../agent/config.ts';
import { AGENT_VERSION } from '../../../../agent/version.ts';
import packageJson from '../../../../package.json' with { type: 'json' };
import { nodeDisk } from '../../../../platform/disk.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'config-'));
});
afterEach(() => rm(directory, { recursive: true }));

const GOOD = {
  format: 'holdfast-agent-1',
  vendor: 'acme.example',
  hardwareClass: 'acme-cam',
  channel: 'stable',
  environment: 'rehearsal',
  board: { kind: 'emulated', directory: '..' },
  dataDirectory: '../data',
  factoryRoot: 'root.json',
  factoryInstalled: { sequence: 1, version: '1.0.0' },
  claimFile: 'claim.json',
  server: { url: 'https://localhost:8443', mqttUrl: 'mqtts://localhost:8883', anchorsFile: 'server-ca.pem' },
};

async function read(content: unknown) {
  const path = join(directory, 'agent.json');
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
  return readConfig(nodeDisk, path);
}

describe('agent.json', () => {
  it('is read with defaults for times and limits, and paths from its own folder', async () => {
    const config = await read(GOOD);
    expect(config).toMatchObject({
      dataDirectory: join(directory, '../data'),
      factoryRoot: join(directory, 'root.json'),
      board: { kind: 'emulated', directory: join(directory, '..') },
      server: { anchorsFile: join(directory, 'server-ca.pem') },
      clock: 'host',
      poll: { intervalMs: 300_000 },
      trial: { serverWaitMs: 300_000 },
      retry: { baseMs: 1000, capMs: 300_000 },
      health: { directory: null, deadlineMs: 30_000 },
    });
  });

  it('has its hooks, watchdog and units from its own folder, and asks NetworkManager but on a laptop', async () => {
    const config = await read({
      ...GOOD,
      board: { kind: 'none' },
      hooks: { beforeReboot: 'before.d', inUse: { program: 'in-use', file: '/run/acme/busy', limitMs: 1000 } },
      trial: { watchdogDevice: '/dev/watchdog' },
      health: { builtin: { units: ['acme-app.service', 'acme@1.service'] } },
      network: { budget: { bytes: 50_000_000, per: 'month' } },
    });
    expect(config).toMatchObject({
      hooks: {
        beforeReboot: join(directory, 'before.d'),
        inUse: { program: join(directory, 'in-use'), file: '/run/acme/busy', limitMs: 1000, download: false },
      },
      trial: { watchdogDevice: '/dev/watchdog', serverWaitMs: 300_000 },
      health: { builtin: { systemd: true, startDeadlineMs: 120_000, settleMs: 10_000 } },
      network: { metered: 'auto', budget: { bytes: 50_000_000, per: 'month' } },
    });
    expect((await read(GOOD)).network).toEqual({ maxBytesPerSecond: null, metered: 'never', budget: null });
  });

  it.each([
    ['health', { builtin: { units: ['--all'] } }, /units by name/],
    ['hooks', { inUse: { limitMs: -1 } }, /in milliseconds/],
    ['network', { budget: { bytes: 1000, per: 'month' } }, /a budget like/],
    ['network', { metered: 'perhaps' }, /auto, always or never/],
    ['trial', { watchdogDevice: 7 }, /watchdogDevice/],
  ])('says how to mend %s %j', async (field, value, cure) => {
    await expect(read({ ...GOOD, [field]: value })).rejects.toMatchObject({
      code: 'config-invalid',
      cure: expect.stringMatching(cure),
    });
  });

  it('asks a synchronised clock of anything but an emulated board', async () => {
    expect((await read({ ...GOOD, board: { kind: 'none' } })).clock).toBe('timesyncd');
  });

  const WRONG: [string, unknown, string, string][] = [
    ['is not JSON', '{"format"', 'config-malformed', 'agent.json'],
    ['is no object', '7', 'config-invalid', '(the whole file)'],
    ['is of another format', { ...GOOD, format: 'holdfast-agent-9' }, 'config-invalid', 'field format'],
    ['lacks a field', { ...GOOD, vendor: undefined }, 'config-invalid', 'field vendor'],
    ['has an unknown field', { ...GOOD, skipChecks: true }, 'config-invalid', 'field skipChecks'],
    ['has an unknown field within', { ...GOOD, poll: { interval: 5 } }, 'config-invalid', 'field poll.interval'],
    ['has an unknown board', { ...GOOD, board: { kind: 'abacus' } }, 'config-invalid', 'field board.kind'],
    [
      'has a server without TLS',
      { ...GOOD, server: { ...GOOD.server, url: 'http://x' } },
      'config-invalid',
      'field server.url',
    ],
    [
      'has a broker without TLS',
      { ...GOOD, server: { ...GOOD.server, mqttUrl: 'mqtt://x' } },
      'config-invalid',
      'field server.mqttUrl',
    ],
    ['has a negative time', { ...GOOD, poll: { intervalMs: -1 } }, 'config-invalid', 'field poll.intervalMs'],
    ['has a name that no topic may hold', { ...GOOD, deviceId: 'a/#' }, 'config-invalid', 'field deviceId'],
    [
      'has pauses the wrong way round',
      { ...GOOD, retry: { baseMs: 5000, capMs: 10 } },
      'config-invalid',
      'field retry.baseMs',
    ],
    [
      'is of production on an emulated board',
      { ...GOOD, environment: 'production' },
      'config-invalid',
      'field board.kind',
    ],
    ['is too large', `"${'x'.repeat(70_000)}"`, 'config-malformed', 'agent.json'],
  ];

  it.each(WRONG)('is refused with place and cure when it %s', async (_what, content, code, where) => {
    await expect(read(content)).rejects.toMatchObject({
      name: 'Fault',
      code,
      where: expect.stringContaining(where),
      exitStatus: 3,
    });
    await expect(read(content)).rejects.toMatchObject({ cure: expect.stringMatching(/\.$/) });
  });

  it('is missed by name when it is not there', async () => {
    await expect(readConfig(nodeDisk, join(directory, 'none.json'))).rejects.toMatchObject({
      code: 'config-missing',
      exitStatus: 3,
    });
  });
});

describe('the agent', () => {
  it('has the version of its package', () => {
    expect(AGENT_VERSION).toBe(packageJson.version);
  });
});
