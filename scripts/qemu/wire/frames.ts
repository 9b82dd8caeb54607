/**
 * Ethernet frames, as far as somebody needs them who knocks at a device's doors: neighbours over IPv4 and IPv6, TCP's first
 * and last word, UDP, echo. Pure: bytes in, bytes out. Frames from the device are untrusted, and only read.
 */

export interface Address {
  readonly mac: Uint8Array;
  readonly ipv4: Uint8Array;
  readonly ipv6: Uint8Array;
}

export type Family = 4 | 6;

const ETHERNET_BYTES = 14;
const ARP = 0x0806;
const IPV4 = 0x0800;
const IPV6 = 0x86dd;
export const ICMP = 1;
export const TCP = 6;
export const UDP = 17;
export const ICMPV6 = 58;
const SYN = 0x02;
const RST = 0x04;
const ACK = 0x10;
const BROADCAST = new Uint8Array(6).fill(0xff);

function ethernet(to: Uint8Array, from: Uint8Array, type: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(Math.max(60, ETHERNET_BYTES + payload.length));
  frame.set(to);
  frame.set(from, 6);
  frame.set([type >> 8, type & 0xff], 12);
  frame.set(payload, ETHERNET_BYTES);
  return frame;
}

/** RFC 1071. */
function checksum(...parts: readonly Uint8Array[]): number {
  let sum = 0;
  for (const part of parts) {
    for (let at = 0; at < part.length; at += 2) sum += ((part[at] ?? 0) << 8) | (part[at + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function withChecksum(bytes: Uint8Array, at: number, pseudo: Uint8Array): Uint8Array {
  const sum = checksum(pseudo, bytes);
  bytes.set([sum >> 8, sum & 0xff], at);
  return bytes;
}

function pseudoHeader(from: Uint8Array, to: Uint8Array, protocol: number, length: number): Uint8Array {
  const tail =
    from.length === 4
      ? [0, protocol, length >> 8, length & 0xff]
      : [0, 0, length >> 8, length & 0xff, 0, 0, 0, protocol];
  return Uint8Array.from([...from, ...to, ...tail]);
}

function ip(
  from: Uint8Array,
  to: Uint8Array,
  protocol: number,
  payload: Uint8Array,
): { type: number; packet: Uint8Array } {
  if (from.length === 16) {
    const head = [0x60, 0, 0, 0, payload.length >> 8, payload.length & 0xff, protocol, 255, ...from, ...to];
    return { type: IPV6, packet: Uint8Array.from([...head, ...payload]) };
  }
  const total = 20 + payload.length;
  const head = Uint8Array.from([0x45, 0, total >> 8, total & 0xff, 0, 0, 0x40, 0, 64, protocol, 0, 0, ...from, ...to]);
  withChecksum(head, 10, new Uint8Array());
  return { type: IPV4, packet: Uint8Array.from([...head, ...payload]) };
}

/** Writes what one end of the wire says to the other. */
export class FrameWriter {
  readonly #self: Address;
  readonly #peer: Address;

  constructor(self: Address, peer: Address) {
    this.#self = self;
    this.#peer = peer;
  }

  #ends(family: Family): [Uint8Array, Uint8Array] {
    return family === 4 ? [this.#self.ipv4, this.#peer.ipv4] : [this.#self.ipv6, this.#peer.ipv6];
  }

  #packet(family: Family, protocol: number, bytes: Uint8Array, checksumAt: number): Uint8Array {
    const [from, to] = this.#ends(family);
    const pseudo = protocol === ICMP ? new Uint8Array() : pseudoHeader(from, to, protocol, bytes.length);
    const { type, packet } = ip(from, to, protocol, withChecksum(bytes, checksumAt, pseudo));
    return ethernet(this.#peer.mac, this.#self.mac, type, packet);
  }

  #tcp(family: Family, fromPort: number, toPort: number, flags: number, sequence: number): Uint8Array {
    const ports = [fromPort >> 8, fromPort & 0xff, toPort >> 8, toPort & 0xff];
    const number = [sequence >>> 24, (sequence >>> 16) & 0xff, (sequence >>> 8) & 0xff, sequence & 0xff];
    const bytes = Uint8Array.from([...ports, ...number, 0, 0, 0, 0, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    return this.#packet(family, TCP, bytes, 16);
  }

  /** Asks for a connection. */
  syn(family: Family, fromPort: number, toPort: number): Uint8Array {
    return this.#tcp(family, fromPort, toPort, SYN, 1000);
  }

  /** Gives up one that was granted. */
  rst(family: Family, fromPort: number, toPort: number): Uint8Array {
    return this.#tcp(family, fromPort, toPort, RST, 1001);
  }

  udp(family: Family, fromPort: number, toPort: number, payload: Uint8Array): Uint8Array {
    const length = 8 + payload.length;
    const head = [fromPort >> 8, fromPort & 0xff, toPort >> 8, toPort & 0xff, length >> 8, length & 0xff, 0, 0];
    return this.#packet(family, UDP, Uint8Array.from([...head, ...payload]), 6);
  }

  echo(family: Family): Uint8Array {
    const bytes = Uint8Array.from([family === 4 ? 8 : 128, 0, 0, 0, 0x4c, 0x41, 0, 1, 1, 2, 3, 4]);
    return this.#packet(family, family === 4 ? ICMP : ICMPV6, bytes, 2);
  }

  /** `to`: whoever asked; without it everybody on the wire. */
  arp(operation: 'request' | 'reply', to: Uint8Array = BROADCAST): Uint8Array {
    const { mac, ipv4 } = this.#self;
    const target = operation === 'request' ? new Uint8Array(6) : to;
    const words = [
      0,
      1,
      8,
      0,
      6,
      4,
      0,
      operation === 'request' ? 1 : 2,
      ...mac,
      ...ipv4,
      ...target,
      ...this.#peer.ipv4,
    ];
    return ethernet(to, mac, ARP, Uint8Array.from(words));
  }

  /** A neighbour solicitation for the peer, or an advertisement of oneself to it. */
  neighbour(kind: 'solicitation' | 'advertisement'): Uint8Array {
    const { mac, ipv6 } = this.#self;
    const asks = kind === 'solicitation';
    const target = asks ? this.#peer.ipv6 : ipv6;
    const bytes = Uint8Array.from([
      asks ? 135 : 136,
      0,
      0,
      0,
      asks ? 0 : 0x60,
      0,
      0,
      0,
      ...target,
      asks ? 1 : 2,
      1,
      ...mac,
    ]);
    return this.#packet(6, ICMPV6, bytes, 2);
  }
}

export type Heard =
  | { readonly kind: 'asks-ipv4' | 'asks-ipv6' | 'other' }
  /** An answer to somebody's knock: which door it is of. */
  | {
      readonly kind: 'accepted' | 'refused' | 'udp' | 'unreachable' | 'echo';
      readonly family: Family;
      readonly port: number;
      readonly toPort: number;
    };

export interface Knock {
  readonly kind: 'tcp' | 'udp';
  readonly family: Family;
  readonly port: number;
}

const OTHER = { kind: 'other' } as const;

/**
 * What a frame from the device is. A datagram counts as one of `udp` whatever it is about: the caller knows to which port
 * it spoke.
 */
export function hear(frame: Uint8Array): Heard {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < ETHERNET_BYTES + 20) return OTHER;
  if (view.getUint16(12) === ARP) return view.getUint16(ETHERNET_BYTES + 6) === 1 ? { kind: 'asks-ipv4' } : OTHER;
  const packet = packetIn(frame);
  return packet === undefined ? OTHER : transport(packet);
}

/** A door that somebody knocks at: a connection is asked for, or a datagram sent. Undefined for any other frame. */
export function knockIn(frame: Uint8Array): Knock | undefined {
  const packet = packetIn(frame);
  if (packet === undefined || packet.bytes.length < 8) return undefined;
  const { family, protocol, bytes } = packet;
  const port = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint16(2);
  if (protocol === UDP) return { kind: 'udp', family, port };
  if (protocol !== TCP || ((bytes[13] ?? 0) & (SYN | RST | ACK)) !== SYN) return undefined;
  return { kind: 'tcp', family, port };
}

/** What every card says that has a link, to find others and to be found: ARP, neighbours, routers, groups. Answers no knock. */
export function isNeighbourTalk(frame: Uint8Array): boolean {
  if (frame.length < ETHERNET_BYTES) return false;
  const type = ((frame[12] ?? 0) << 8) | (frame[13] ?? 0);
  if (type === ARP) return true;
  // Reports of group membership stand behind a hop-by-hop header.
  if (type === IPV6 && frame[ETHERNET_BYTES + 6] === 0) return frame[ETHERNET_BYTES + 40] === ICMPV6;
  const packet = packetIn(frame);
  const [first = 0] = packet?.bytes ?? [];
  return packet?.family === 6 && packet.protocol === ICMPV6 && first >= 130 && first <= 143;
}

interface Packet {
  readonly family: Family;
  readonly protocol: number;
  readonly bytes: Uint8Array;
}

function packetIn(frame: Uint8Array): Packet | undefined {
  if (frame.length < ETHERNET_BYTES + 20) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const type = view.getUint16(12);
  if (type === IPV4) {
    const headBytes = ((frame[ETHERNET_BYTES] ?? 0) & 0x0f) * 4;
    // Only the first piece of a datagram has ports.
    if ((view.getUint16(ETHERNET_BYTES + 6) & 0x1fff) !== 0) return undefined;
    const protocol = frame[ETHERNET_BYTES + 9] ?? 0;
    return { family: 4, protocol, bytes: frame.subarray(ETHERNET_BYTES + headBytes) };
  }
  if (type !== IPV6 || frame.length < ETHERNET_BYTES + 40) return undefined;
  return { family: 6, protocol: frame[ETHERNET_BYTES + 6] ?? 0, bytes: frame.subarray(ETHERNET_BYTES + 40) };
}

function transport({ family, protocol, bytes }: Packet): Heard {
  if (bytes.length < 8) return OTHER;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [port, toPort] = [view.getUint16(0), view.getUint16(2)];
  if (protocol === TCP && bytes.length >= 20) {
    const flags = (bytes[13] ?? 0) & (SYN | RST | ACK);
    if (flags === (SYN | ACK)) return { kind: 'accepted', family, port, toPort };
    return (flags & RST) === 0 ? OTHER : { kind: 'refused', family, port, toPort };
  }
  if (protocol === UDP) return { kind: 'udp', family, port, toPort };
  const [type = 0] = bytes;
  if (protocol === ICMP && type === 0) return { kind: 'echo', family, port: 0, toPort: 0 };
  if (protocol === ICMP && type === 3)
    return { kind: 'unreachable', family, port: quotedPort(bytes.subarray(8), 20), toPort: 0 };
  if (protocol !== ICMPV6) return OTHER;
  if (type === 129) return { kind: 'echo', family, port: 0, toPort: 0 };
  if (type === 1) return { kind: 'unreachable', family, port: quotedPort(bytes.subarray(8), 40), toPort: 0 };
  return type === 135 ? { kind: 'asks-ipv6' } : OTHER;
}

/** The port that a quoted packet was for. */
function quotedPort(packet: Uint8Array, headBytes: number): number {
  return ((packet[headBytes + 2] ?? 0) << 8) | (packet[headBytes + 3] ?? 0);
}
