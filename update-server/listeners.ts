/** The three listeners: on which addresses, under which names, and what a person is told when a port is not to be had. */
import type { AddressInfo } from 'node:net';
import { EXIT, Fault, systemErrorCode } from '../platform/fault.ts';
import type { ServerConfig } from './config.ts';

const isWildcard = (host: string): boolean => host === '0.0.0.0' || host === '::';

/** Every name that the server's certificate carries. */
export const certificateNames = (config: Pick<ServerConfig, 'names' | 'host'>): readonly string[] => [
  ...new Set([...config.names, 'localhost', '127.0.0.1', ...(isWildcard(config.host) ? [] : [config.host])]),
];

/** An address as it is given out: the first name, else the address listened on. */
export function urlOf(config: Pick<ServerConfig, 'names' | 'host'>, scheme: 'https' | 'mqtts', port: number): string {
  const name = config.names[0] ?? (isWildcard(config.host) ? 'localhost' : config.host);
  return `${scheme}://${name.includes(':') ? `[${name}]` : name}:${port}`;
}

export function portOf(address: AddressInfo | string | null): number {
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Runs `listen`; what the system says of the port becomes a Fault. */
export async function onPort<T>(use: string, host: string, port: number, listen: () => Promise<T>): Promise<T> {
  try {
    return await listen();
  } catch (error) {
    const where = `${host}:${port} (${use})`;
    const code = systemErrorCode(error);
    if (code === 'EADDRINUSE') {
      throw portFault(
        'port-in-use',
        'another program listens there',
        where,
        'Stop that program, or choose another port.',
      );
    }
    if (code === 'EACCES') {
      throw portFault('port-not-permitted', 'this user may not listen there', where, 'Choose a port above 1023.');
    }
    if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
      throw portFault(
        'address-not-here',
        'this machine does not have that address',
        where,
        'Give one of its own with --host.',
      );
    }
    throw error;
  }
}

const portFault = (code: string, what: string, where: string, cure: string): Fault =>
  new Fault({ code, what, where, cure, exitStatus: EXIT.environment });
