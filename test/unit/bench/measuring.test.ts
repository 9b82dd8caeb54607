/** The arithmetic and the reading of other programs' words, without running any of the benchmarks. */
import { describe, expect, it } from 'vitest';
import { medianOf, ratioOf, rowOf } from '../../bench/measure.ts';
import { parseSpeed } from '../../bench/sha-mask.ts';
import { headOf, number, ratioTable, sideBySide } from '../../bench/tables.ts';
import { parseTime, underTime } from '../../bench/usage.ts';
import { findWriteCap } from '../../bench/write-cap.ts';

describe('what time(1) wrote', () => {
  it('is wall, CPU of user and system together, and memory in MB of 10⁶ bytes', () => {
    expect(parseTime('12.92 0.5 2.75 178900\n')).toEqual({ wallS: 12.92, cpuS: 3.25, peakMb: 183.1936 });
  });

  it('is its last line: a program that failed has one before it', () => {
    expect(parseTime('Command exited with non-zero status 1\n1.00 0.25 0.25 1000\n').cpuS).toBe(0.5);
  });

  it.each(['', 'Command terminated by signal 9', '1.0 2.0 3.0', '1.0 2.0 x 4'])('is refused when it is %j', (text) => {
    expect(() => parseTime(text)).toThrow('time(1) wrote');
  });

  it('measures every program on the same cores', () => {
    const [first, ...rest] = underTime(['dd', 'bs=1M'], '/tmp/said');
    expect([first, rest.slice(0, 2)]).toEqual(['taskset', ['-c', '0,1']]);
    expect(rest.slice(-2)).toEqual(['dd', 'bs=1M']);
  });
});

describe('an aim', () => {
  it('is met at its value, and judged before rounding', () => {
    expect(ratioOf('a', 0.8, 0.8)).toEqual({ name: 'a', value: 0.8, aim: '<= 0.8', met: true });
    expect(ratioOf('a', 0.80001, 0.8)).toEqual({ name: 'a', value: 0.8, aim: '<= 0.8', met: false });
  });

  it('is not met by a figure that does not exist', () => {
    expect(ratioOf('a', medianOf([1]) / 0, 0.8).met).toBe(false);
    expect(ratioOf('a', Number.NaN, 0.8).met).toBe(false);
  });
});

describe('tables', () => {
  const rows = [
    rowOf('install to a file: wall', 'agent', [3, 1, 2], 's'),
    rowOf('install to a file: peak memory', 'agent', [70, 70, 70], 'MB'),
    rowOf('install to a file: wall', 'dd', [5], 's'),
  ];

  it('have the measures of one subject side by side, with least and most of several runs', () => {
    expect(sideBySide(rows).split('\n')).toEqual([
      '| install to a file | wall, s | peak memory, MB | runs |',
      '| --- | --: | --: | --: |',
      '| agent | 2 (1–3) | 70 | 3 |',
      '| dd | 5 |  | 1 |',
    ]);
  });

  it('name what could not be measured, also where nothing of its group was', () => {
    const why = 'no device mapper';
    const text = sideBySide(rows, [
      { group: 'install to a file', subject: 'rauc', why },
      { group: 'a slow card', subject: 'swupdate', why: 'no cap' },
    ]);
    expect(text).toContain('| rauc | not measured: no device mapper | | |');
    expect(text).toContain('| swupdate | not measured: no cap |');
  });

  it('say that an aim is missed', () => {
    expect(ratioTable([ratioOf('wall', 1.2, 0.8)])).toContain('| wall | 1.2 | <= 0.8 | **no** |');
  });

  it('say machine and versions, and group thousands', () => {
    const machine = { cpu: 'a chip', cores: 2, memoryMb: 1000, system: 'linux x64' };
    const versions = { holdfast: '0.1.0', node: '24.0.0', v8: '13', rauc: '1.8-2' };
    expect(headOf({ machine, versions, rows: [], ratios: [] })).toBe(
      'Machine: a chip, 2 cores, 1000 MB, linux x64; Node 24.0.0, Holdfast 0.1.0, rauc 1.8-2.',
    );
    expect([number(3771625), number(0.271828), number(70)]).toEqual(['3,771,625', '0.27', '70']);
  });
});

describe('what this machine can do', () => {
  it('is not to cap writing where blkio of cgroup v1 is not mounted', () => {
    const found = findWriteCap('cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n', '0::/\n');
    expect('why' in found && found.why).toContain('no blkio controller');
  });

  it('is not to cap writing where the kernel has no throttling', () => {
    const found = findWriteCap('cgroup /nowhere/blkio cgroup rw,blkio 0 0\n', '7:blkio:/own\n');
    expect('why' in found && found.why).toBe(
      '/nowhere/blkio/blkio.throttle.write_bps_device, /nowhere/blkio/own/blkio.throttle.write_bps_device: the kernel cannot throttle',
    );
  });

  it('is read from the last line of openssl speed', () => {
    expect(parseSpeed('type  16384 bytes\nsha256  554571.97k\n')).toBeCloseTo(554.57);
    expect(() => parseSpeed('unknown option -bytes')).toThrow('openssl speed wrote');
  });
});
