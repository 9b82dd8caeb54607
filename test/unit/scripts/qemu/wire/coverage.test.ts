import { describe, expect, it } from 'vitest';
import { countFrames } from '../../../../../scripts/qemu/wire/capture.ts';
import { Coverage, triedBefore } from '../../../../../scripts/qemu/wire/coverage.ts';
import { FrameWriter, isNeighbourTalk, knockIn } from '../../../../../scripts/qemu/wire/frames.ts';
import { DEVICE } from '../../../../../scripts/qemu/wire/knocker.ts';

const STRANGER = {
  mac: Uint8Array.of(2, 0, 0, 0, 0, 1),
  ipv4: Uint8Array.of(198, 51, 100, 1),
  ipv6: Uint8Array.from([0xfd, ...new Array(14).fill(0), 1]),
};
const stranger = new FrameWriter(STRANGER, DEVICE);
const device = new FrameWriter(DEVICE, STRANGER);
const at = (atUnixMs: number, frame: Uint8Array) => ({ atUnixMs, frame });
const syn = (atUnixMs: number, port: number, family: 4 | 6 = 4) => at(atUnixMs, stranger.syn(family, 40_001, port));
const says = (atUnixMs: number) => at(atUnixMs, device.neighbour('solicitation'));

describe('doors that were tried', () => {
  it('count from the first frame of the device itself until it opens', () => {
    const frames = [
      syn(1, 21),
      says(2),
      syn(3, 22),
      syn(4, 22, 6),
      at(5, stranger.udp(6, 40_001, 53, new Uint8Array(4))),
      syn(10, 23),
    ];
    const tried = triedBefore(frames, DEVICE.mac, 10);
    expect([...tried.tcp[4]]).toEqual([22]);
    expect([...tried.tcp[6]]).toEqual([22]);
    expect([...tried.udp[6]]).toEqual([53]);
    expect(tried.udp[4].size).toBe(0);
  });

  it('are none while the device never spoke', () => {
    expect(triedBefore([syn(1, 22), syn(2, 80, 6)], DEVICE.mac, 10).tcp[4].size).toBe(0);
  });

  it('are connections asked for and datagrams, and nothing else', () => {
    expect(knockIn(stranger.syn(6, 40_001, 443))).toEqual({ kind: 'tcp', family: 6, port: 443 });
    expect(knockIn(stranger.udp(4, 40_001, 161, new Uint8Array(2)))).toEqual({ kind: 'udp', family: 4, port: 161 });
    for (const frame of [stranger.rst(4, 1, 22), stranger.echo(6), stranger.arp('request'), new Uint8Array(60)])
      expect(knockIn(frame)).toBeUndefined();
  });
});

describe('a sweep that goes on from boot to boot', () => {
  const sweep = (from: number, to: number) =>
    triedBefore(
      [
        says(0),
        ...Array.from({ length: to - from + 1 }, (_, index) => from + index).flatMap((port) => [
          syn(1, port),
          syn(1, port, 6),
        ]),
      ],
      DEVICE.mac,
      2,
    );

  it('begins where those before it ended, and passes by what others are at', () => {
    const coverage = new Coverage();
    expect(coverage.nextPort()).toBe(1);
    coverage.add(sweep(1, 1700));
    expect(coverage.nextPort()).toBe(1701);
    expect(coverage.nextPort([1701])).toBe(3701);
    coverage.add(sweep(3701, 5000));
    expect(coverage.nextPort()).toBe(1701);
    expect(coverage.count('tcp', 6)).toBe(3000);
  });

  it('takes a port again that one family alone was tried at', () => {
    const coverage = new Coverage();
    coverage.add(triedBefore([says(0), syn(1, 1), syn(1, 1, 6), syn(1, 2), syn(1, 3), syn(1, 3, 6)], DEVICE.mac, 2));
    expect(coverage.nextPort()).toBe(2);
  });

  it('is whole with every port in both families', () => {
    const coverage = new Coverage();
    coverage.add(sweep(1, 65_534));
    expect(coverage.isWhole).toBe(false);
    coverage.add(sweep(65_535, 65_535));
    expect(coverage.isWhole).toBe(true);
    expect(coverage.nextPort()).toBe(1);
  });
});

it('finding neighbours is told apart from answering a knock', () => {
  const frames = [
    device.arp('reply'),
    device.neighbour('advertisement'),
    device.syn(4, 22, 40_001),
    device.udp(4, 5355, 5355, new Uint8Array(3)),
  ];
  expect(frames.map(isNeighbourTalk)).toEqual([true, true, false, false]);
  expect(isNeighbourTalk(new Uint8Array(3))).toBe(false);
  const { before } = countFrames(
    frames.map((frame) => at(1, frame)),
    { mac: DEVICE.mac, knockedFrom: [40_001] },
    2,
  );
  expect(before).toMatchObject({ received: 0, sent: 4, neighbourTalk: 2, answers: [] });
});
