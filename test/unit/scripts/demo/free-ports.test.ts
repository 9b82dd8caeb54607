import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { freePorts } from '../../../../scripts/demo/free-ports.ts';

test('ports differ, are free, and are none that the kernel gives to others meanwhile', async () => {
  const [first = 0] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split(/\s+/).map(Number);
  const ports = await freePorts(20);
  expect(new Set(ports).size).toBe(20);
  // Where the kernel leaves none to draw from, it chooses itself.
  expect(ports.every((port) => port >= 10_000 && (port < first || first < 11_000))).toBe(true);
  for (const port of ports) {
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(port, '127.0.0.1', resolve);
    });
    await new Promise((resolve) => server.close(resolve));
  }
});
