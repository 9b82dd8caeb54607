import { describe, expect, it } from 'vitest';
import { BootRows, type RecordedBoot } from '../../../../../scripts/qemu/first-boot/boot-rows.ts';
import { UDP_PORTS } from '../../../../../scripts/qemu/wire/knocker.ts';

const ports = (from: number, to: number) => new Set(Array.from({ length: to - from + 1 }, (_, index) => from + index));
const udp = new Set(UDP_PORTS);

function boot(number: number, from: number, to: number, more: Partial<RecordedBoot> = {}): RecordedBoot {
  const answer = { kind: 'accepted', family: 4, port: 22 } as const;
  const before = { received: 100, sent: 5, neighbourTalk: 5, answers: [] };
  const recorded = { before, after: { ...before, answers: [answer] } };
  const tried = { tcp: { 4: ports(from, to), 6: ports(from, to) }, udp: { 4: udp, 6: udp } };
  return { number, device: 'x', kind: 'fresh', opensAfterS: 90, recorded, acceptedByServerCard: 0, tried, ...more };
}

describe('the rows of a campaign of boots', () => {
  it('stand in the order of the boots, with their sums; a port that two of them tried counts once', () => {
    const rows = new BootRows();
    rows.add(boot(2, 900, 2000));
    rows.add(boot(1, 1, 1000, { acceptedByServerCard: 1 }));
    expect(rows.rows.map(({ boot: number }) => number)).toEqual([1, 2]);
    expect(rows.sums('2 of 2')).toMatchObject({
      boot: '2 of 2',
      'to it before': 200,
      'accepted before': 1,
      'accepted after': 2,
      'TCP IPv4 ports': 2000,
    });
    expect(rows.nextPort([])).toBe(2001);
  });

  it('few boots need not have tried every port, and say how many; fifty must', () => {
    const rows = new BootRows();
    rows.add(boot(1, 1, 60_000));
    expect(rows.covered(3)).toMatchObject({ holds: true });
    expect(rows.covered(3).text).toContain('60000 of 65535 TCP ports over IPv4');
    expect(rows.covered(50).holds).toBe(false);
    rows.add(boot(2, 60_001, 65_535));
    expect(rows.covered(50).holds).toBe(true);
  });

  it('a campaign that tried nothing with a link up shows nothing', () => {
    expect(new BootRows().covered(3).holds).toBe(false);
  });
});
