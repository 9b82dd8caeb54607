import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { askUntil } from '../../../../../scripts/demo/patience.ts';
import { countFrames, framesOf, readCapture } from '../../../../../scripts/qemu/wire/capture.ts';
import { DEVICE, KNOCKS_FROM, Knocker } from '../../../../../scripts/qemu/wire/knocker.ts';

const QUIET = join(import.meta.dirname, '../../../../../agent/systemd/first-boot/quiet');
const CAPTURE = { mac: DEVICE.mac, knockedFrom: [KNOCKS_FROM] };
const LIMIT_MS = 20_000;
const canTap = existsSync('/dev/net/tun') && process.getuid?.() === 0;
let folder: string;
let knocker: Knocker;
let device: ChildProcess | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wire-'));
  knocker = await Knocker.at(join(folder, 'socket'), 100);
});
afterEach(async () => {
  await knocker.end();
  if (device?.exitCode === null) await once(device, 'exit');
  await rm(folder, { recursive: true, force: true });
});

/** A kernel that really answers, behind the first gate's firewall or not. */
async function start(quiet: boolean): Promise<void> {
  const program = join(import.meta.dirname, 'tap-device.py');
  const script = `${quiet ? `${QUIET} close;` : ''} exec python3 ${program} ${folder}/socket ${folder}/pcap`;
  device = spawn('unshare', ['--net', 'sh', '-ec', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  if (device.stdout !== null) await once(device.stdout, 'data');
}

const passes = (count: number) => askUntil(LIMIT_MS, 50, () => (knocker.knocks.tcp > count ? true : undefined));

// Cards of one's own are root's: elsewhere this is skipped, and says so in the gate's count.
describe.skipIf(!canTap)('the knocker', () => {
  it('is answered by a real kernel: accepted, refused, a datagram, an unreachable port, an echo, in both families', async () => {
    await start(false);
    await passes(2000);
    const heard = (kind: string, port?: number) =>
      new Set(
        knocker.answers.filter((one) => one.kind === kind && (port ?? one.port) === one.port).map((one) => one.family),
      );
    const all = await askUntil(LIMIT_MS, 50, () =>
      heard('udp', 53).size === 2 && heard('echo').size === 2 ? true : undefined,
    );
    expect(all).toBe(true);
    expect(heard('accepted', 22)).toEqual(new Set([4, 6]));
    expect(heard('refused', 23)).toEqual(new Set([4, 6]));
    expect(heard('unreachable', 69)).toEqual(new Set([4, 6]));
    expect(knocker.answers.filter(({ kind, port }) => kind === 'accepted' && port !== 22)).toEqual([]);
  });

  it('hears nothing of the same kernel behind the first gate, and its recording holds nothing', async () => {
    await start(true);
    await passes(4000);
    const { before } = await readCapture(join(folder, 'pcap'), CAPTURE, Number.POSITIVE_INFINITY);
    expect(knocker.answers).toEqual([]);
    expect(before.answers).toEqual([]);
    expect(before.received).toBeGreaterThan(4000);
    // It is there, and has said so to its neighbour.
    expect(before.sent).toBeGreaterThan(0);
  });

  it('finds in the recording what it heard, before and after a moment', async () => {
    await start(false);
    const isAccepted = ({ kind }: { kind: string }) => kind === 'accepted';
    await askUntil(LIMIT_MS, 50, () => knocker.answers.find(isAccepted));
    const momentUnixMs = Date.now() + 200;
    const recorded = await askUntil(LIMIT_MS, 50, async () => {
      const read = await readCapture(join(folder, 'pcap'), CAPTURE, momentUnixMs);
      return read.after.answers.some(isAccepted) ? read : undefined;
    });
    expect(recorded?.before.answers.filter(isAccepted).map(({ port }) => port)).toContain(22);
    const early = await readCapture(join(folder, 'pcap'), CAPTURE, 0);
    expect(early.before).toEqual({ received: 0, sent: 0, neighbourTalk: 0, answers: [] });
  });
});

describe('a recording', () => {
  it('may end in the middle of a frame, and is refused when it is none', async () => {
    expect(() => [...framesOf(new Uint8Array(40))]).toThrow('no pcap file');
    expect(() => [...framesOf(new Uint8Array(3))]).toThrow('no recording');
    const head = Uint8Array.of(0xd4, 0xc3, 0xb2, 0xa1, ...new Array(20).fill(0));
    const record = Uint8Array.of(...new Array(8).fill(0), 60, 0, 0, 0, 60, 0, 0, 0, ...new Array(60).fill(7));
    expect([...framesOf(Uint8Array.of(...head, ...record, ...record.subarray(0, 30)))]).toHaveLength(1);
  });

  it('is read without trust: short and strange frames are nothing', () => {
    const frames = [0, 1, 13, 20, 34, 54].map((length) => ({ atUnixMs: 0, frame: new Uint8Array(length).fill(0x45) }));
    expect(countFrames(frames, CAPTURE, 1).before.answers).toEqual([]);
  });
});
