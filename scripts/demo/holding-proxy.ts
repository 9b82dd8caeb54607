/**
 * A TCP proxy in front of the device listener that can hold answers back: every piece from the server waits until the
 * gate lets it pass. It reads nothing (it is TLS), so that only who asks the server knows what an answer contained.
 */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class HoldingProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #stopped = false;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** `gate`: asked for each piece, in order; false holds it and all after it for ever. */
  static async start(targetPort: number, gate: () => Promise<boolean>, ownPort = 0): Promise<HoldingProxy> {
    const server = createServer();
    const proxy = new HoldingProxy(server);
    server.on('connection', (near) => proxy.#join(near, connect(targetPort, '127.0.0.1'), gate));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(ownPort, '127.0.0.1', () => resolve());
    });
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Breaks every connection; no error when it was stopped before. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #join(near: Socket, far: Socket, gate: () => Promise<boolean>): void {
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    near.pipe(far);
    let before = Promise.resolve();
    far.on('data', (piece) => {
      before = before.then(async () => {
        if (await gate()) near.write(piece);
        else await new Promise(() => undefined);
      });
      before.catch(() => near.destroy());
    });
  }
}
