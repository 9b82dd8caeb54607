/**
 * What is measured as "the agent" by `npm run bench -- install`: the shipped engine, board, disk and source, from an offer
 * to an armed trial, in a process of its own, bundled as the agent is. Not shipped.
 *
 *   node install-agent.mjs DEVICE RELEASE ACTION   (ACTION: JSON of the offer; RELEASE: a directory source)
 */
import { randomBytes } from 'node:crypto';
import { EmulatedBoard } from '../../agent/boards/emulated.ts';
import { DirectorySource } from '../../agent/transport/directory-source.ts';
import { UpdateEngine } from '../../agent/update-engine.ts';
import { nodeDisk } from '../../platform/disk.ts';
import type { Action } from '../../protocol/device-api.ts';

const [device = '', release = '', offer = ''] = process.argv.slice(2);
const action: Action & { readonly nowUnixMs: number } = JSON.parse(offer);
const board = new EmulatedBoard(nodeDisk, device);
const engine = await UpdateEngine.open(
  {
    disk: nodeDisk,
    board,
    clock: {
      monotonicMs: () => performance.now(),
      wallUnixMs: () => action.nowUnixMs,
      sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    },
    random: { bytes: (length) => new Uint8Array(randomBytes(length)) },
    source: new DirectorySource(nodeDisk, release),
    health: { check: async () => ({ healthy: true, failedCheck: '', detail: '' }) },
    server: { reachable: async () => false },
    reporter: { record: async (event) => void (event.kind === 'notice' && process.stderr.write(`${event.code}\n`)) },
    log: { info: () => {}, warn: () => {} },
  },
  {
    device: {
      deviceId: 'cam-0001',
      vendor: 'acme.example',
      hardwareClass: 'acme-cam',
      channel: 'stable',
      environment: 'rehearsal',
    },
    stateDirectory: `${device}/data`,
    factoryRootPath: `${device}/factory/root.json`,
    factoryInstalled: { sequence: 1, version: '1.0.0' },
    trialServerWaitMs: 0,
  },
);
await engine.offer(action);
const { rest } = await engine.run();
if (rest !== 'reboot') {
  process.stderr.write(`the engine came to rest with ${rest}, in state ${engine.status().state}\n`);
  process.exitCode = 1;
}
