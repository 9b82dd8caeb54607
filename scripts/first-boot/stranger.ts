/**
 * Whoever stands at the other end of the wire: runs in a network namespace of its own (scripts/first-boot/links.ts), tries
 * addresses and ports, and is the maker's server that the device may call. Requests and answers are JSON, a line each.
 *
 *   {"tcp":[{"host","port"}],"udp":[…]}  →  {"tcp":["banner"|"accepted"|"refused"|"silent"|"unreachable"],"udp":[…],"calls":N}
 */
import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import type { Answer, Door, StrangerAnswers } from './stranger-words.ts';

const CALLS_PORT = 8443;
/** Both ends are on this machine; a device under load answers late. */
const PATIENCE_MS = 1500;

let calls = 0;

function tryTcp({ host, port }: Door): Promise<Answer> {
  return new Promise((resolve) => {
    let answer: Answer = 'silent';
    const socket = connect({ host, port });
    const end = (said: Answer): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(said);
    };
    const timer = setTimeout(() => end(answer), PATIENCE_MS);
    socket.once('connect', () => {
      answer = 'accepted';
    });
    socket.once('data', () => end('banner'));
    socket.once('close', () => end(answer));
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (answer === 'accepted') end(answer);
      else end(error.code === 'ECONNREFUSED' || error.code === 'ECONNRESET' ? 'refused' : 'unreachable');
    });
  });
}

/** A closed port answers with an ICMP error, which the kernel gives to a connected socket. */
function tryUdp({ host, port }: Door): Promise<Answer> {
  return new Promise((resolve) => {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    const end = (said: Answer): void => {
      clearTimeout(timer);
      socket.removeAllListeners();
      socket.on('error', () => undefined);
      socket.close();
      resolve(said);
    };
    const timer = setTimeout(() => end('silent'), PATIENCE_MS);
    socket.on('message', () => end('accepted'));
    socket.on('error', (error: NodeJS.ErrnoException) =>
      end(error.code === 'ECONNREFUSED' ? 'refused' : 'unreachable'),
    );
    socket.connect(port, host, () => socket.send('hello\n'));
  });
}

async function answer(line: string): Promise<void> {
  const { tcp, udp } = JSON.parse(line) as { tcp: Door[]; udp: Door[] };
  const answers: StrangerAnswers = {
    tcp: await Promise.all(tcp.map(tryTcp)),
    udp: await Promise.all(udp.map(tryUdp)),
    calls,
  };
  process.stdout.write(`${JSON.stringify(answers)}\n`);
}

createServer((socket) => {
  calls += 1;
  socket.on('error', () => undefined);
  socket.end('the server\n');
}).listen({ port: CALLS_PORT, host: '::', ipv6Only: false }, () => process.stdout.write('ready\n'));
const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => void answer(line));
lines.on('close', () => process.exit(0));
