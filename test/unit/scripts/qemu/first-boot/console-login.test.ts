/**
 * Who types at a serial line, against the real login(1) of this machine: on a terminal of its own, in a mount namespace of
 * its own, over a shadow file in which root has a password that the test knows. Needs root.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ConsoleLogin } from '../../../../../scripts/qemu/first-boot/console-login.ts';

const folder = mkdtempSync(join(tmpdir(), 'holdfast-console-'));
const socketPath = join(folder, 'line');
const isRoot = process.getuid?.() === 0;
const children: ChildProcess[] = [];
let server: Server;

beforeAll(async () => {
  if (!isRoot) return;
  const shadow = join(folder, 'shadow');
  const hash = spawnSync('openssl', ['passwd', '-6', '-stdin'], {
    input: 'known-to-the-test\n',
    encoding: 'utf8',
  }).stdout;
  const text = readFileSync('/etc/shadow', 'utf8').replace(/^root:[^:]*/m, () => `root:${hash.trim()}`);
  writeFileSync(shadow, text, { mode: 0o600 });
  const line = 'while :; do login; done';
  const inside = `mount --bind '${shadow}' /etc/shadow && exec script -qfc '${line}' /dev/null`;
  server = createServer((socket) => {
    const child = spawn('unshare', ['--mount', 'sh', '-c', inside], { stdio: ['pipe', 'pipe', 'inherit'] });
    children.push(child);
    socket.on('error', () => undefined);
    socket.pipe(child.stdin);
    child.stdout.pipe(socket);
  }).listen(socketPath);
  await once(server, 'listening');
});

afterAll(async () => {
  for (const child of children) child.kill('SIGTERM');
  server?.close();
  rmSync(folder, { recursive: true });
});

it.runIf(isRoot)(
  'tells who is let in from who is refused, in the words of login itself, one after another',
  async () => {
    const console = await ConsoleLogin.at(socketPath);
    expect(await console.tries({ user: 'root', password: 'root' })).toBe('refused');
    expect(await console.tries({ user: 'nobody-here', password: '' })).toBe('refused');
    expect(await console.tries({ user: 'root', password: 'known-to-the-test' })).toBe('accepted');
    expect(await console.tries({ user: 'root', password: '' })).toBe('refused');
    console.end();
  },
  60_000,
);
