/** PID 1's end of sd_notify(3): a real unix datagram socket, which Node has not, so Python holds it. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';

/** A datagram at a time; descriptors that come with one (BARRIER=1) are closed, which is how PID 1 lets the sender go. */
const RECEIVER = `
import array, os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('bound', flush=True)
while True:
    data, control, _, _ = s.recvmsg(4096, 1024)
    for level, kind, blob in control:
        if kind == socket.SCM_RIGHTS:
            fds = array.array('i'); fds.frombytes(blob[:len(blob) - len(blob) % 4])
            for fd in fds: os.close(fd)
    print(data.decode().replace('\\n', ' '), flush=True)
`;

/** scripts/setup.sh installs both. */
export const HAS_NOTIFY = ['systemd-notify', 'python3'].every(
  (program) => spawnSync(program, ['--version']).error === undefined,
);

export class NotifySocket {
  readonly path: string;
  readonly received: string[] = [];
  readonly #process: ChildProcess;

  static async open(path: string): Promise<NotifySocket> {
    const socket = new NotifySocket(path);
    while (!socket.received.includes('bound')) await pause(20);
    return socket;
  }

  private constructor(path: string) {
    this.path = path;
    this.#process = spawn('python3', ['-c', RECEIVER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#process.stdout?.on('data', (chunk: Buffer) => this.received.push(...chunk.toString().trim().split('\n')));
  }

  count(message: string): number {
    return this.received.filter((line) => line === message).length;
  }

  async close(): Promise<void> {
    this.#process.kill();
    await once(this.#process, 'exit');
  }
}
