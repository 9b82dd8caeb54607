/**
 * Ports of loopback that nobody listens on, and that nobody is given by chance while their server is away: they lie below
 * those that the kernel hands out for port 0 and for outgoing connections, of which tests beside this run make thousands.
 */
import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { systemErrorCode } from '../../platform/fault.ts';

/** Below are the ports that services are known by. */
const LOWEST_PORT = 10_000;
/** With fewer to draw from the kernel's own choice is the better one. */
const ENOUGH_PORTS = 1000;
const TRIES = 100;

interface HeldPort {
  readonly port: number;
  readonly close: () => Promise<void>;
}

/** `port` 0 leaves the choice to the kernel. */
function listen(port: number): Promise<HeldPort> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      if (address === null || typeof address === 'string') return reject(new Error('a port was asked for'));
      resolve({ port: address.port, close: () => new Promise((closed) => server.close(() => closed())) });
    });
  });
}

/** The first port that the kernel hands out; 0 where it does not say. */
async function firstHandedOut(): Promise<number> {
  const range = await readFile('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').catch(() => '');
  return Number(/^\d+/.exec(range)?.[0] ?? 0);
}

async function drawPort(below: number): Promise<HeldPort> {
  if (below - LOWEST_PORT < ENOUGH_PORTS) return listen(0);
  for (let tries = 0; tries < TRIES; tries += 1) {
    try {
      return await listen(randomInt(LOWEST_PORT, below));
    } catch (error) {
      if (systemErrorCode(error) !== 'EADDRINUSE') throw error;
    }
  }
  return listen(0);
}

/** All are held until all are found, so that no two are the same. They are free again when this returns. */
export async function freePorts(count: number): Promise<number[]> {
  const below = await firstHandedOut();
  const held: HeldPort[] = [];
  for (let index = 0; index < count; index += 1) held.push(await drawPort(below));
  await Promise.all(held.map(({ close }) => close()));
  return held.map(({ port }) => port);
}
