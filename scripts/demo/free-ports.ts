/** Ports of loopback that nobody listens on. */
import { createServer } from 'node:net';

function listen(): Promise<{ port: number; close: () => Promise<void> }> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      if (address === null || typeof address === 'string') return reject(new Error('a port was asked for'));
      resolve({ port: address.port, close: () => new Promise((closed) => server.close(() => closed())) });
    });
  });
}

/** All are held until all are found, so that no two are the same. They are free again when this returns. */
export async function freePorts(count: number): Promise<number[]> {
  const held = [];
  for (let index = 0; index < count; index += 1) held.push(await listen());
  await Promise.all(held.map(({ close }) => close()));
  return held.map(({ port }) => port);
}
