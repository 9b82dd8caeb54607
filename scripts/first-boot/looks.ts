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
/** What must not come is given so long; what must come may take longer, on a machine that has other things to do. */
const PATIENCE_MS = 6000;
const LONG_PATIENCE_MS = 60_000;

export type Expected = Readonly<Record<Way, Seen>>;

/** `expected` says how long to wait for what, and nothing else. `meanwhile` goes on for as long as the stranger tries. */
export async function look(
  container: Container,
  stranger: Stranger,
  expected: Expected,
  meanwhile: (() => Promise<unknown>) | undefined,
): Promise<Look> {
  const links = await untilSeen(expected.links, () => linksOf(container));
  const getty = await untilSeen(expected.getty, () => seeGetty(container));
  let answers = await knock(stranger, meanwhile);
  const untilMs = performance.now() + LONG_PATIENCE_MS;
  while (DAEMONS.some(([way, port]) => expected[way] === 'open' && !reached(answers, port))) {
    if (performance.now() > untilMs) break;
    answers = await knock(stranger, meanwhile);
  }
  const listening = (await container.run('ss', '--listening', '--tcp', '--numeric', '--no-header')).stdout;
  const daemon = ([way, port]: (typeof DAEMONS)[number]): [Way, Seen] => {
    if (reached(answers, port)) return [way, 'open'];
    return [way, new RegExp(`:${port}\\s`).test(listening) ? 'unreachable' : 'closed'];
  };
  const daemons = Object.fromEntries(DAEMONS.map(daemon)) as Record<(typeof DAEMONS)[number][0], Seen>;
  const wayOut = links === 'open' && (await madeCalls(container));
  const emergency = await seeEmergency(container, expected.emergency);
  return { seen: { ...daemons, getty, links, emergency }, answers: answers.map(nameOf), wayOut };
}

const DAEMONS = [
  ['sshd', SSHD_PORT],
  ['ssh.socket', SSH_SOCKET_PORT],
  ['listener', LISTENER_PORT],
] as const;

interface Answered extends Door {
  readonly protocol: 'tcp' | 'udp';
  readonly answer: Answer;
}

/** Every door of the device, once; those that gave an answer. */
async function knock(stranger: Stranger, meanwhile: (() => Promise<unknown>) | undefined): Promise<Answered[]> {
  const hosts = LINKS.flatMap(({ deviceIpv4, deviceIpv6 }) => [deviceIpv4, deviceIpv6]);
  const doors = (ports: readonly number[]): Door[] => hosts.flatMap((host) => ports.map((port) => ({ host, port })));
  const tcp = doors([...DAEMONS.map(([, port]) => port), ...OTHER_TCP_PORTS]);
  const udp = doors(UDP_PORTS);
  const trying = stranger.tries(tcp, udp);
  let tried = false;
  const disturbing = (async () => {
    while (meanwhile !== undefined && !tried) await meanwhile();
  })();
  const said = await trying;
  tried = true;
  await disturbing;
  const answered = (protocol: 'tcp' | 'udp', asked: readonly Door[], answers: readonly Answer[]): Answered[] =>
    asked
      .map((door, index) => ({ protocol, ...door, answer: answers[index] ?? 'silent' }))
      .filter(({ answer }) => answer !== 'silent' && answer !== 'unreachable');
  return [...answered('tcp', tcp, said.tcp), ...answered('udp', udp, said.udp)];
}

function reached(answers: readonly Answered[], wanted: number): boolean {
  return answers.some(({ port, protocol, answer }) => port === wanted && protocol === 'tcp' && answer !== 'refused');
}

const nameOf = ({ protocol, host, port }: Answered): string => `${protocol} ${host} port ${port}`;

/** Looks until it is as expected; what is not there to come is looked at once. */
async function untilSeen(expected: Seen, see: () => Promise<Seen>): Promise<Seen> {
  if (expected === 'closed') return see();
  const found = await askUntil(LONG_PATIENCE_MS, 300, async () => {
    const seen = await see();
    return seen === expected ? seen : undefined;
  });
  return found ?? see();
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
  const called = await askUntil(LONG_PATIENCE_MS, 300, async () => {
    const text = await readFile(join(container.root, 'stand-in/called'), 'utf8').catch(() => '');
    return text.trim().split('\n').length === 2 ? true : undefined;
  });
  return called === true;
}

/** The last thing that is looked at: it ends everything else. */
async function seeEmergency(container: Container, expected: Seen): Promise<Seen> {
  const before = (await container.console()).length;
  await container.run('systemctl', '--no-block', 'isolate', 'emergency.target');
  const seen = await askUntil(
    expected === 'closed' ? PATIENCE_MS : LONG_PATIENCE_MS,
    200,
    async (): Promise<Seen | undefined> => {
      const said = (await container.console()).slice(before);
      if (/Give root password|for maintenance/.test(said)) return 'open';
      return /root account is locked/.test(said) ? 'locked' : undefined;
    },
  );
  return seen ?? 'closed';
}
