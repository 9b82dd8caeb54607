/**
 * One agent per data directory. Held by an abstract Unix socket (unix(7)), which the kernel takes away with the process
 * however it ends: no stale lock file after a power cut.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { EXIT, Fault, systemErrorCode } from '../platform/fault.ts';

/** Throws a Fault (exit 5) when another agent works there. The process may end while it is held. */
export async function holdDataDirectory(dataDirectory: string): Promise<Server> {
  const name = createHash('sha256').update(dataDirectory).digest('hex').slice(0, 32);
  const server = createServer((socket) => socket.destroy());
  server.listen(`\0holdfast-agent-${name}`);
  try {
    await once(server, 'listening');
  } catch (error) {
    if (systemErrorCode(error) !== 'EADDRINUSE') throw error;
    throw new Fault({
      code: 'agent-running',
      what: 'another agent works with this data directory',
      where: dataDirectory,
      cure: 'Stop that agent first (systemctl stop holdfast-agent), or ask it: holdfast-agent status.',
      exitStatus: EXIT.environment,
    });
  }
  server.unref();
  return server;
}
