import { describe, expect, it } from 'vitest';
import { formatDuration, formatMoment, parseDuration } from '../../../cli/duration.ts';
import { parseImage, parseSlotSize } from '../../../cli/image-option.ts';
import { formatTable, printable } from '../../../cli/output.ts';
import { formatBytes, startProgress, startStatusLine } from '../../../cli/progress.ts';
import { parsePercentage, parseWaves, parseWholeNumber } from '../../../cli/waves.ts';
import { faultCode } from '../keys/workshop.ts';

describe('durations', () => {
  it.each([
    ['0s', 0],
    ['500ms', 500],
    ['30s', 30_000],
    ['10m', 600_000],
    ['2h', 7_200_000],
    ['7d', 604_800_000],
    ['365d', 31_536_000_000],
  ])('%s is %i ms', (text, ms) => expect(parseDuration(text, '--soak')).toBe(ms));

  it.each(['', '10', 's', '1.5h', '-1s', '10 m', ' 10m', '10M', '10min', '1h30m', '1e3s', '366d', '9999999999s', '٣s'])(
    'refuses %j',
    async (text) => expect(await faultCode(() => parseDuration(text, '--soak'))).toBe('duration-malformed'),
  );

  it('are shown as people say them', () => {
    expect([900, 12_345, 185_000, 7_800_000, 200_000_000].map(formatDuration)).toEqual([
      '0.9 s',
      '12 s',
      '3 min 05 s',
      '2 h 10 min',
      '2 days',
    ]);
    expect(formatMoment(0)).toBe('1970-01-01 00:00:00Z');
  });
});

describe('waves', () => {
  it('are devices and percentages, each with the soak time', () => {
    expect(parseWaves('1,25%,100%', 0)).toEqual([{ devices: 1 }, { percent: 25 }, { percent: 100 }]);
    expect(parseWaves('5, 12.5%', 1000)).toEqual([
      { devices: 5, soakMs: 1000 },
      { percent: 12.5, soakMs: 1000 },
    ]);
  });

  it.each([
    '',
    ',',
    '0',
    '0%',
    '101%',
    '10%,5%',
    '5,5',
    '1,25%,25%',
    '-1',
    '1;2',
    'all',
    '100 %',
    Array.from({ length: 33 }, (_, i) => i + 1).join(','),
  ])('refuses %j', async (text) => expect(await faultCode(() => parseWaves(text, 0))).toBe('waves-malformed'));
});

describe('other words of the command line', () => {
  it('percentages and numbers are strict', async () => {
    expect(parsePercentage('20%', '--max-failed')).toBe(20);
    expect(parsePercentage('0%', '--max-failed')).toBe(0);
    for (const text of ['20', '%', '120%', '-1%', '1e1%'])
      expect(await faultCode(() => parsePercentage(text, 'x'))).toBe('percentage-malformed');
    expect(parseWholeNumber('7', 'x', 1, 9)).toBe(7);
    for (const text of ['', '0', '10', '7.0', '0x7', ' 7', '-7'])
      expect(await faultCode(() => parseWholeNumber(text, 'x', 1, 9))).toBe('number-malformed');
  });

  it('images name a component and a file, which may contain an equals sign', async () => {
    expect(parseImage('rootfs=/a=b.img')).toEqual({ component: 'rootfs', path: '/a=b.img' });
    for (const text of ['rootfs', '=x', 'rootfs=', ''])
      expect(await faultCode(() => parseImage(text))).toBe('image-malformed');
  });
});

describe('what is printed', () => {
  it('cannot move the cursor or recolour the terminal', () => {
    expect(printable('a\u001b[31mred\u0007\u009bx\r')).toBe('a\ufffd[31mred\ufffd\ufffdx\ufffd');
    expect(
      formatTable([
        ['name', 'x'],
        ['\u001b[2J', 'longer'],
      ]),
    ).toBe('name  x\n\ufffd[2J  longer');
  });

  it('names sizes in binary units', () => {
    expect([0, 1023, 1024, 64 * 2 ** 20, 5 * 2 ** 30].map(formatBytes)).toEqual([
      '0 B',
      '1023 B',
      '1.0 KiB',
      '64 MiB',
      '5.0 GiB',
    ]);
  });
});

describe('progress', () => {
  function recorded(style: 'bar' | 'lines' | 'silent') {
    let text = '';
    let nowMs = 0;
    const stream = {
      write(piece: string | Uint8Array) {
        text += String(piece);
        return true;
      },
    };
    return {
      output: { stream, style, nowMs: () => nowMs },
      text: () => text,
      pass(ms: number) {
        nowMs += ms;
      },
    };
  }

  it('prints a line every three seconds where there is no terminal, and one at the end', () => {
    const { output, text, pass } = recorded('lines');
    const progress = startProgress(output, 'Reading', 1000, String);
    for (let done = 0; done <= 1000; done += 100) {
      progress.update(done);
      pass(1000);
    }
    progress.finish();
    expect(text().split('\n')).toEqual([
      expect.stringContaining(' 30 % 300 of 1000'),
      expect.stringContaining(' 60 % 600 of 1000'),
      expect.stringContaining(' 90 % 900 of 1000'),
      'Reading: 1000 in 11.0 s',
      '',
    ]);
  });

  it('redraws one line on a terminal', () => {
    const { output, text, pass } = recorded('bar');
    const progress = startProgress(output, 'Reading', 10, String);
    for (const done of [0, 5, 10]) {
      progress.update(done);
      pass(200);
    }
    progress.finish('done');
    expect(text().match(/\n/g)).toHaveLength(1);
    expect(text()).toContain('[############............]  50 %');
  });

  it('says nothing where nobody looks', () => {
    const { output, text } = recorded('silent');
    startProgress(output, 'Reading', 10).finish();
    startStatusLine(output).show('x');
    expect(text()).toBe('');
  });

  it('repeats a status line only when it changed, or after a while', () => {
    const { output, text, pass } = recorded('lines');
    const line = startStatusLine(output);
    for (let second = 0; second < 20; second += 1) {
      line.show(second < 2 ? 'waiting' : 'running');
      pass(1000);
    }
    expect(text().split('\n')).toEqual(['waiting', 'running', 'running', '']);
  });
});

describe('sizes of slots', () => {
  it.each([
    ['rootfs=512MiB', { component: 'rootfs', sizeBytes: 512 * 1024 ** 2 }],
    ['boot=65536KiB', { component: 'boot', sizeBytes: 64 * 1024 ** 2 }],
    ['data=1GiB', { component: 'data', sizeBytes: 1024 ** 3 }],
    ['rootfs=4096', { component: 'rootfs', sizeBytes: 4096 }],
  ])('%s', (text, size) => expect(parseSlotSize(text)).toEqual(size));

  it.each([
    '',
    'rootfs',
    'rootfs=',
    '=1',
    'rootfs=0',
    'rootfs=1MB',
    'rootfs=-1',
    'rootfs=1.5GiB',
    'Root=1',
    'a=9999999999999GiB',
  ])('refuses %j', async (text) => expect(await faultCode(() => parseSlotSize(text))).toBe('slot-malformed'));
});
