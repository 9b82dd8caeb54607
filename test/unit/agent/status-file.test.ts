import { mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type AgentStatus, readStatusFile, StatusFile } from '../../../agent/status-file.ts';
import { nodeDisk } from '../../../platform/disk.ts';

const STATUS: AgentStatus = {
  format: 'holdfast-status-1',
  agentVersion: '0.1.0',
  deviceId: 'cam-0001',
  hardwareClass: 'acme-cam',
  channel: 'stable',
  environment: 'lab',
  enrolled: true,
  server: null,
  serverSeenUnixMs: null,
  serverTrouble: null,
  mqttConnected: false,
  reportsWaiting: 0,
  bootedSlot: 'a',
  state: 'idle',
  stateSinceUnixMs: null,
  installed: { sequence: 1, version: '1.0.0' },
  floorSequence: 0,
  actionId: null,
  heldWhy: '',
  waiting: null,
  quarantined: [],
  progress: null,
};

it('many strands write at once: none fails, and the last picture stays', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'status-'));
  const file = new StatusFile(nodeDisk, directory);
  const pictures = Array.from({ length: 40 }, (_, index) => ({ ...STATUS, reportsWaiting: index }));
  await Promise.all(pictures.map((picture) => file.write(picture)));
  expect(await readStatusFile(nodeDisk, directory)).toEqual(pictures.at(-1));
  expect(await readdir(directory)).toEqual(['status.json']);
});

it('goes on after a write that failed', async () => {
  const directory = join(await mkdtemp(join(tmpdir(), 'status-')), 'later');
  const file = new StatusFile(nodeDisk, directory);
  await expect(file.write(STATUS)).rejects.toThrow(/ENOENT/);
  await nodeDisk.makeDirectory(directory);
  await file.write(STATUS);
  expect(await readStatusFile(nodeDisk, directory)).toEqual(STATUS);
});
