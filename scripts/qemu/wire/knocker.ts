/**
 * Whoever is on the network when a device is switched on, and knocks at every door: all TCP ports and common UDP ones over
 * IPv4 and IPv6, again and again, the well-known ones often. It is the other end of the device's card (QEMU's
 * `-netdev stream`), in this process: no frame leaves it, and it needs no rights.
 */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { type Address, type Family, FrameWriter, hear } from './frames.ts';

export const DEVICE: Address = {
  mac: Uint8Array.of(0x52, 0x54, 0, 0x51, 0, 2),
  ipv4: Uint8Array.of(198, 51, 100, 2),
  ipv6: Uint8Array.from([0xfd, ...new Array(14).fill(0), 2]),
};
const SELF: Address = {
  mac: Uint8Array.of(0x52, 0x54, 0, 0x51, 0, 1),
  ipv4: Uint8Array.of(198, 51, 100, 1),
  ipv6: Uint8Array.from([0xfd, ...new Array(14).fill(0), 1]),
};
/** Where each knock comes from: an answer to this port is an answer to us. */
export const KNOCKS_FROM = 40_001;
const WELL_KNOWN_TCP = [22, 23, 80, 443, 1883, 2222, 2323, 5355, 7547, 8080, 8443, 8883];
export const UDP_PORTS = [
  53, 67, 68, 69, 111, 123, 137, 161, 500, 514, 546, 1434, 1900, 3702, 5351, 5353, 5355, 5683, 11_211,
];
/** A name server's query, so that what speaks DNS answers; others are asked the same. */
const QUESTION = Uint8Array.of(0x48, 0x46, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0x61, 0, 0, 1, 0, 1);
export const LAST_PORT = 65_535;
const TURN_MS = 50;
/** Of the sweep, in both families: 1000 frames a second. An emulated processor looks at each, and has to boot besides. */
const PORTS_PER_TURN = 25;
const TURNS_PER_WELL_KNOWN = 10;
const LENGTH_BYTES = 4;
/** More is no frame. */
const FRAME_CAP_BYTES = 65_550;

export interface Knocks {
  /** Whole passes over all TCP ports, in both families. */
  readonly passes: number;
  readonly tcp: number;
  readonly udp: number;
}

/** A door that answered, when this process heard it. */
export interface HeardAnswer {
  readonly kind: 'accepted' | 'refused' | 'udp' | 'unreachable' | 'echo';
  readonly family: Family;
  readonly port: number;
}

export class Knocker {
  readonly #server: Server;
  readonly #writer = new FrameWriter(SELF, DEVICE);
  readonly #answers: HeardAnswer[] = [];
  readonly #portsPerTurn: number;
  readonly #firstPort: number;
  #isThere = false;
  #socket: Socket | undefined;
  #rest = new Uint8Array();
  #next = 1;
  #turn = 0;
  #knocks = { passes: 0, tcp: 0, udp: 0 };
  #timer: NodeJS.Timeout | undefined;

  private constructor(server: Server, portsPerTurn: number, firstPort: number) {
    this.#server = server;
    this.#portsPerTurn = portsPerTurn;
    this.#firstPort = firstPort;
  }

  /**
   * Waits at a socket for the device's card; knocks from the moment that it is there. `firstPort`: where the sweep goes on
   * once the device's link is up; what is sent before, the card takes little of.
   */
  static async at(path: string, portsPerTurn = PORTS_PER_TURN, firstPort = 1): Promise<Knocker> {
    const server = createServer();
    const knocker = new Knocker(server, portsPerTurn, firstPort);
    server.on('connection', (socket) => knocker.#meet(socket));
    server.listen(path);
    await once(server, 'listening');
    return knocker;
  }

  get knocks(): Knocks {
    return { ...this.#knocks };
  }

  /** Whether the device has said anything at all on this wire: its link is up. */
  get isThere(): boolean {
    return this.#isThere;
  }

  get answers(): readonly HeardAnswer[] {
    return this.#answers;
  }

  async end(): Promise<void> {
    clearInterval(this.#timer);
    this.#socket?.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #meet(socket: Socket): void {
    clearInterval(this.#timer);
    this.#socket = socket;
    this.#rest = new Uint8Array();
    // A cut of the device's power.
    socket.on('error', () => undefined);
    socket.on('close', () => clearInterval(this.#timer));
    socket.on('data', (chunk) => this.#take(chunk));
    this.#timer = setInterval(() => this.#knock(), TURN_MS);
  }

  #say(frame: Uint8Array): void {
    const length = new Uint8Array(LENGTH_BYTES);
    new DataView(length.buffer).setUint32(0, frame.length);
    this.#socket?.write(length);
    this.#socket?.write(frame);
  }

  #take(chunk: Uint8Array): void {
    let bytes = Buffer.concat([this.#rest, chunk]);
    while (bytes.length >= LENGTH_BYTES) {
      const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
      if (length > FRAME_CAP_BYTES) throw new Error(`a frame of ${length} bytes`);
      if (bytes.length < LENGTH_BYTES + length) break;
      this.#hear(bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length));
      bytes = bytes.subarray(LENGTH_BYTES + length);
    }
    this.#rest = bytes;
  }

  #hear(frame: Uint8Array): void {
    if (!this.#isThere) this.#next = this.#firstPort;
    this.#isThere = true;
    const heard = hear(frame);
    if (heard.kind === 'asks-ipv4') this.#say(this.#writer.arp('reply', DEVICE.mac));
    else if (heard.kind === 'asks-ipv6') this.#say(this.#writer.neighbour('advertisement'));
    if (!('port' in heard) || (heard.kind === 'udp' && heard.toPort !== KNOCKS_FROM)) return;
    this.#answers.push({ kind: heard.kind, family: heard.family, port: heard.port });
    if (heard.kind === 'accepted') this.#say(this.#writer.rst(heard.family, heard.toPort, heard.port));
  }

  #knock(): void {
    // The card takes no more at the moment: the device is off, or busy.
    if ((this.#socket?.writableLength ?? 0) > 0) return;
    if (this.#turn % TURNS_PER_WELL_KNOWN === 0) this.#knockWellKnown();
    this.#turn += 1;
    for (let count = 0; count < this.#portsPerTurn; count += 1) {
      for (const family of [4, 6] as const) this.#say(this.#writer.syn(family, KNOCKS_FROM, this.#next));
      this.#knocks.tcp += 2;
      this.#next += 1;
      if (this.#next <= LAST_PORT) continue;
      this.#next = 1;
      this.#knocks.passes += 1;
    }
  }

  #knockWellKnown(): void {
    this.#say(this.#writer.arp('request'));
    this.#say(this.#writer.neighbour('solicitation'));
    for (const family of [4, 6] as const) {
      this.#say(this.#writer.echo(family));
      for (const port of WELL_KNOWN_TCP) this.#say(this.#writer.syn(family, KNOCKS_FROM, port));
      for (const port of UDP_PORTS) this.#say(this.#writer.udp(family, KNOCKS_FROM, port, QUESTION));
      this.#knocks.tcp += WELL_KNOWN_TCP.length;
      this.#knocks.udp += UDP_PORTS.length;
    }
  }
}
