/** Reads what QEMU recorded of a card (`filter-dump`: pcap), and counts what the device answered before and after a moment. */
import { readFile } from 'node:fs/promises';
import { type Family, hear, isNeighbourTalk } from './frames.ts';

const PCAP_MAGIC = 0xa1b2c3d4;
const FILE_HEAD_BYTES = 24;
const RECORD_HEAD_BYTES = 16;
const MAC_BYTES = 6;
/** A recording of hours of sweeping; more is a mistake. */
const CAP_BYTES = 2 * 1024 * 1024 * 1024;

export interface AnsweredDoor {
  readonly kind: 'accepted' | 'refused' | 'udp' | 'unreachable' | 'echo';
  readonly family: Family;
  readonly port: number;
}

export interface Counted {
  /** All frames that the device was sent, and sent. */
  readonly received: number;
  readonly sent: number;
  /** Of those, what finds neighbours and is found by them: ARP and its like, which every link has. */
  readonly neighbourTalk: number;
  readonly answers: readonly AnsweredDoor[];
}

export interface CaptureWords {
  /** The device's card. */
  readonly mac: Uint8Array;
  /** Datagrams of the device to these ports are answers to somebody who knocked from there. */
  readonly knockedFrom: readonly number[];
}

export interface Recorded {
  readonly before: Counted;
  readonly after: Counted;
}

export interface TimedFrame {
  /** By the clock of who recorded; QEMU's begins with a whole second, so that it may be one second behind this machine's. */
  readonly atUnixMs: number;
  readonly frame: Uint8Array;
}

/** Throws when the file is no recording. */
export async function readCapture(path: string, words: CaptureWords, momentUnixMs: number): Promise<Recorded> {
  return countFrames(await readFrames(path), words, momentUnixMs);
}

export async function readFrames(path: string): Promise<Iterable<TimedFrame>> {
  return framesOf(await readFile(path));
}

/** QEMU may be in the middle of a record when its power is cut: the last one need not be whole. */
export function* framesOf(bytes: Uint8Array): Generator<TimedFrame> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < FILE_HEAD_BYTES || bytes.length > CAP_BYTES)
    throw new Error(`no recording: ${bytes.length} bytes`);
  const isLittle = view.getUint32(0, true) === PCAP_MAGIC;
  if (!isLittle && view.getUint32(0) !== PCAP_MAGIC) throw new Error('no pcap file');
  for (let at = FILE_HEAD_BYTES; at + RECORD_HEAD_BYTES <= bytes.length; ) {
    const atUnixMs = view.getUint32(at, isLittle) * 1000 + view.getUint32(at + 4, isLittle) / 1000;
    const length = view.getUint32(at + 8, isLittle);
    at += RECORD_HEAD_BYTES;
    if (at + length > bytes.length) return;
    yield { atUnixMs, frame: bytes.subarray(at, at + length) };
    at += length;
  }
}

export function countFrames(frames: Iterable<TimedFrame>, words: CaptureWords, momentUnixMs: number): Recorded {
  const begin = () => ({ received: 0, sent: 0, neighbourTalk: 0, answers: [] as AnsweredDoor[] });
  const [before, after] = [begin(), begin()];
  for (const { atUnixMs, frame } of frames) {
    const part = atUnixMs < momentUnixMs ? before : after;
    if (!isFrom(frame, words.mac)) part.received += 1;
    else {
      part.sent += 1;
      if (isNeighbourTalk(frame)) part.neighbourTalk += 1;
      const heard = hear(frame);
      if (!('port' in heard) || (heard.kind === 'udp' && !words.knockedFrom.includes(heard.toPort))) continue;
      part.answers.push({ kind: heard.kind, family: heard.family, port: heard.port });
    }
  }
  return { before, after };
}

export function isFrom(frame: Uint8Array, mac: Uint8Array): boolean {
  return mac.every((byte, index) => frame[MAC_BYTES + index] === byte);
}
