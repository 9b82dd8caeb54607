/**
 * A day of a device that has nothing to do, in a few seconds: the shipped run loop, device, engine, HTTPS and MQTT, on a
 * clock that jumps to the next moment at which somebody wants to be woken. It jumps only when nothing is under way, so
 * that the answer to a ping or a poll always comes first. A process of its own, so that memory and timers are the device's.
 *
 *   node --expose-gc test/sim/idle/idle-device.ts AGENT_JSON HOURS     prints an IdleDay as JSON
 */
import { createHook } from 'node:async_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { readConfig } from '../../../agent/config.ts';
import type { Log } from '../../../agent/core/ports.ts';
import { Device } from '../../../agent/device.ts';
import { silentLog } from '../../../agent/log.ts';
import { RunLoop } from '../../../agent/run-loop.ts';
import { nodeDisk } from '../../../platform/disk.ts';
import { CountedDisk } from './counted-disk.ts';
import { JumpingClock } from './jumping-clock.ts';

const HOUR_MS = 3600_000;
/** Conversation, work, keep-alive: who sleeps when all is quiet. */
const STRANDS = 3;

/** Of the event loop: half a minute and more of them, when nothing gets on. */
const TURNS_MOST = 20_000_000;

export interface IdleHour {
  readonly wakeUps: number;
  readonly diskChanges: readonly string[];
  /** After a collection. */
  readonly heapBytes: number;
  /** Of Node's own timers, when all was quiet: each would wake the device unseen by the clock. */
  readonly strayTimers: number;
}

/** Node's handle of a TCP socket. */
interface Connection {
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

/** Timers of Node that are set now (the clock above has none), and connections that are open, by their async ids. */
const timers = new Set<number>();
const connections = new Map<number, Connection>();
createHook({
  init(id, type, _trigger, resource) {
    if (type === 'Timeout') timers.add(id);
    if (type === 'TCPWRAP') connections.set(id, resource as Connection);
  },
  destroy(id) {
    timers.delete(id);
    connections.delete(id);
  },
}).enable();

const [configPath = '', hours = '24'] = process.argv.slice(2);
const config = await readConfig(nodeDisk, configPath);
const disk = new CountedDisk();
const clock = new JumpingClock();
const stop = new AbortController();
const greeted = Promise.withResolvers<void>();
const log: Log = { ...silentLog, info: (message) => message === 'mqtt is here' && greeted.resolve() };
const device = await Device.open(config, log, disk, clock);
const loop = new RunLoop(device, await device.openEngine('cam-0001'));
const running = loop.run(stop.signal);

/** The broker's connection alone is left, all strands sleep, and what was sent was answered. */
async function quiet(written: number, read: number): Promise<Connection> {
  for (let turns = 0; turns < TURNS_MOST; turns += 1) {
    await turn();
    const [connection] = connections.values();
    if (connection === undefined || connections.size !== 1 || clock.sleepers !== STRANDS) continue;
    if (connection.bytesWritten === written || connection.bytesRead > read) return connection;
  }
  throw new Error(`never quiet: ${connections.size} connections, ${clock.sleepers} strands asleep`);
}

const day: IdleHour[] = [];
await greeted.promise;
let broker = await quiet(0, 0);
let seenChanges = 0;
for (let hour = 1; hour <= Number(hours); hour += 1) {
  const before = clock.wakeUps;
  while (clock.monotonicMs() < hour * HOUR_MS) {
    const { bytesWritten, bytesRead } = broker;
    clock.jump();
    broker = await quiet(bytesWritten, bytesRead);
  }
  globalThis.gc?.();
  // What a collection finalises is gone a turn later.
  await turn();
  globalThis.gc?.();
  day.push({
    wakeUps: clock.wakeUps - before,
    diskChanges: disk.changes.slice(seenChanges),
    heapBytes: process.memoryUsage().heapUsed,
    strayTimers: timers.size,
  });
  seenChanges = disk.changes.length;
}
stop.abort();
await running;
process.stdout.write(`${JSON.stringify(day)}\n`, () => process.exit(0));
