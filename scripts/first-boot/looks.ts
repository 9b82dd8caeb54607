/** What stands open on a device at one moment, seen from inside and from outside. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { askUntil } from '../demo/patience.ts';
import type { Container } from './container.ts';
import { LISTENER_PORT, SSH_SOCKET_PORT, SSHD_PORT } from './device-files.ts';
import { LINKS } from './links.ts';
import type { Answer, Door, Stranger } from './stranger-words.ts';

export const WAYS = ['sshd', 'ssh.socket', 'getty', 'emergency', 'links', 'listener'] as const;
export type Way = (typeof WAYS)[number];
/** `unreachable`: it runs, and the stranger gets no answer. `locked`: it asks nobody, because root is locked. */
export type Seen = 'open' | 'unreachable' | 'closed' | 'locked';

export interface Look {
  readonly seen: Readonly<Record<Way, Seen>>;
  /** Doors that gave the stranger any answer, a refusal as well; empty while the first gate stands. */
  readonly answers: readonly string[];
  /** The device has reached its server, over IPv4 and over IPv6. */
  readonly wayOut: boolean;
}

/** Beside those of the device: what scanners knock at. */
const OTHER_TCP_PORTS = [23, 80, 443, 1883, 5355];
const UDP_PORTS = [53, 69, 123, 161, 1900, 5353, 5355];
const EMERGENCY_PATIENCE_MS = 6000;
const MADE_CALLS_MS = 8000;

/** `meanwhile` goes on for as long as the stranger tries. */
export async function look(
  container: Container,
  stranger: Stranger,
  meanwhile: (() => Promise<unknown>) | undefined,
): Promise<Look> {
  const ports = [SSHD_PORT, SSH_SOCKET_PORT, LISTENER_PORT, ...OTHER_TCP_PORTS];
  const hosts = LINKS.flatMap(({ deviceIpv4, deviceIpv6 }) => [deviceIpv4, deviceIpv6]);
  const tcp = hosts.flatMap((host) => ports.map((port): Door => ({ host, port })));
  const udp = hosts.flatMap((host) => UDP_PORTS.map((port): Door => ({ host, port })));
  const links = await linksOf(container);
  const listening = (await container.run('ss', '--listening', '--tcp', '--numeric', '--no-header')).stdout;
  const trying = stranger.tries(tcp, udp);
  let tried = false;
  const disturbing = (async () => {
    while (meanwhile !== undefined && !tried) await meanwhile();
  })();
  const answers = await trying;
  tried = true;
  await disturbing;
  const answered = (answer: Answer | undefined): boolean =>
    answer === 'banner' || answer === 'accepted' || answer === 'refused';
  const reached = (port: number): boolean =>
    tcp.some((door, index) => door.port === port && ['banner', 'accepted'].includes(answers.tcp[index] ?? ''));
  const daemon = (port: number): Seen => {
    if (reached(port)) return 'open';
    return new RegExp(`:${port}\\s`).test(listening) ? 'unreachable' : 'closed';
  };
  const name = ({ host, port }: Door, kind: string): string => `${kind} ${host} port ${port}`;
  const wayOut = links === 'open' && (await madeCalls(container));
  return {
    seen: {
      sshd: daemon(SSHD_PORT),
      'ssh.socket': daemon(SSH_SOCKET_PORT),
      getty: await seeGetty(container),
      links,
      listener: daemon(LISTENER_PORT),
      emergency: await seeEmergency(container),
    },
    answers: [
      ...tcp.filter((_, index) => answered(answers.tcp[index])).map((door) => name(door, 'tcp')),
      ...udp.filter((_, index) => answered(answers.udp[index])).map((door) => name(door, 'udp')),
    ],
    wayOut,
  };
}

/** A prompt that is on the console, and whose program is still there. */
async function seeGetty(container: Container): Promise<Seen> {
  const runs = (await container.property('console-getty.service', 'ActiveState')) === 'active';
  return runs && / login: /.test(await container.console()) ? 'open' : 'closed';
}

/** A link is one when it has an address that somebody else can reach. */
async function linksOf(container: Container): Promise<Seen> {
  const { stdout } = await container.run('ip', '-oneline', 'address', 'show', 'scope', 'global');
  const up = LINKS.filter(({ deviceIpv4 }) => stdout.includes(`${deviceIpv4}/`)).length;
  if (up === 0) return 'closed';
  return up === LINKS.length ? 'open' : 'unreachable';
}

async function madeCalls(container: Container): Promise<boolean> {
  const called = await askUntil(MADE_CALLS_MS, 300, async () => {
    const text = await readFile(join(container.root, 'stand-in/called'), 'utf8').catch(() => '');
    return text.trim().split('\n').length === 2 ? true : undefined;
  });
  return called === true;
}

/** The last thing that is looked at: it ends everything else. */
async function seeEmergency(container: Container): Promise<Seen> {
  const before = (await container.console()).length;
  await container.run('systemctl', '--no-block', 'isolate', 'emergency.target');
  const seen = await askUntil(EMERGENCY_PATIENCE_MS, 200, async (): Promise<Seen | undefined> => {
    const said = (await container.console()).slice(before);
    if (/Give root password|for maintenance/.test(said)) return 'open';
    return /root account is locked/.test(said) ? 'locked' : undefined;
  });
  return seen ?? 'closed';
}
