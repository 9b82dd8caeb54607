/**
 * A broker in a thief's hands: it speaks just enough MQTT 3.1.1 to be believed by a device, and then sends whatever it is
 * told to, whether or not a broker may.
 */
import type { AddressInfo } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { TlsIdentity } from './certificates.ts';

const PACKET = { connect: 1, publish: 3, subscribe: 8, ping: 12 } as const;

export class StolenBroker {
  readonly #server: Server;
  readonly #sockets = new Set<TLSSocket>();
  #subscribed: TLSSocket | undefined;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(identity: TlsIdentity): Promise<StolenBroker> {
    const server = createServer({ key: identity.keyPem, cert: identity.chainPem, minVersion: 'TLSv1.3' });
    const broker = new StolenBroker(server);
    server.on('secureConnection', (socket) => broker.#serve(socket));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', () => resolve());
    });
    return broker;
  }

  get url(): string {
    return `mqtts://localhost:${(this.#server.address() as AddressInfo).port}`;
  }

  get hasSubscriber(): boolean {
    return this.#subscribed !== undefined && !this.#subscribed.destroyed;
  }

  /** An empty message to whoever subscribed, with the retain bit as wished (MQTT 3.1.1 §3.3.1). */
  send(topic: string, retain: boolean): void {
    const name = Buffer.from(topic, 'utf8');
    const head = Buffer.from([
      (PACKET.publish << 4) | (retain ? 1 : 0),
      name.length + 2,
      name.length >> 8,
      name.length & 0xff,
    ]);
    this.#subscribed?.write(Buffer.concat([head, name]));
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #serve(socket: TLSSocket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
    let waiting = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      waiting = Buffer.concat([waiting, chunk]);
      for (let packet = firstPacket(waiting); packet !== undefined; packet = firstPacket(waiting)) {
        waiting = waiting.subarray(packet.sizeBytes);
        this.#answer(socket, packet);
      }
    });
  }

  #answer(socket: TLSSocket, { type, flags, body }: Packet): void {
    if (type === PACKET.connect) socket.write(Buffer.from([0x20, 2, 0, 0]));
    if (type === PACKET.ping) socket.write(Buffer.from([0xd0, 0]));
    if (type === PACKET.subscribe) {
      socket.write(Buffer.concat([Buffer.from([0x90, 3]), body.subarray(0, 2), Buffer.from([1])]));
      this.#subscribed = socket;
    }
    if (type === PACKET.publish && (flags & 0x06) !== 0) {
      const at = 2 + body.readUInt16BE(0);
      socket.write(Buffer.concat([Buffer.from([0x40, 2]), body.subarray(at, at + 2)]));
    }
  }
}

interface Packet {
  readonly type: number;
  readonly flags: number;
  readonly body: Buffer;
  readonly sizeBytes: number;
}

function firstPacket(bytes: Buffer): Packet | undefined {
  let length = 0;
  for (let at = 1; at < Math.min(bytes.length, 5); at += 1) {
    const byte = bytes[at] ?? 0;
    length += (byte & 0x7f) << (7 * (at - 1));
    if (byte >= 0x80) continue;
    const sizeBytes = at + 1 + length;
    if (bytes.length < sizeBytes) return undefined;
    const first = bytes[0] ?? 0;
    return { type: first >> 4, flags: first & 0x0f, body: bytes.subarray(at + 1, sizeBytes), sizeBytes };
  }
  return undefined;
}
