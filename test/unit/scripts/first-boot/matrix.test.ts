import { describe, expect, it } from 'vitest';
import { FAULTS } from '../../../../scripts/first-boot/faults.ts';
import { type Look, WAYS } from '../../../../scripts/first-boot/looks.ts';
import { judge } from '../../../../scripts/first-boot/matrix.ts';
import { printedTable } from '../../../../scripts/first-boot/table.ts';

const row = (name: string) => {
  const found = FAULTS.find((one) => one.name === name);
  if (found === undefined) throw new Error(name);
  return found;
};
const asExpected = (name: string): Look => {
  const { expected, answers, wayOut } = row(name);
  return { seen: expected, answers: answers ? ['tcp 198.51.100.2 port 22'] : [], wayOut };
};

describe('the fault matrix', () => {
  it('has each fault of each unit of the gates, its twin without a fault, and rows that would notice', () => {
    const names = FAULTS.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const unit of ['quiet', 'firstboot', 'open']) {
      for (const fault of ['fails', 'masked', 'killed', 'condition false']) {
        expect(
          names.some((name) => name.startsWith(unit) && name.includes(fault)),
          `${unit} ${fault}`,
        ).toBe(true);
      }
    }
    expect(FAULTS.filter(({ expected }) => WAYS.every((way) => expected[way] === 'open')).length).toBeGreaterThan(1);
    expect(row('two faults: rules flushed, guard masked').expected.listener).toBe('open');
  });

  it('judges what is as it must be', () => {
    for (const { name } of FAULTS) expect(judge(row(name), asExpected(name))).toEqual([]);
  });

  it('finds each way that is open and must be closed, an answer of any kind, and a way out that is shut', () => {
    const blocked = asExpected('no fault, BLOCKED');
    for (const way of ['sshd', 'ssh.socket', 'getty', 'emergency', 'listener'] as const) {
      const seen = { ...blocked.seen, [way]: 'open' } as const;
      expect(judge(row('no fault, BLOCKED'), { ...blocked, seen })).toEqual([
        expect.stringContaining(`${way} is open`),
      ]);
    }
    const answers = ['udp fd00:0:0:1::2 port 53'];
    expect(judge(row('no fault, BLOCKED'), { ...blocked, answers })).toEqual([expect.stringContaining('port 53')]);
    expect(judge(row('no fault, BLOCKED'), { ...blocked, wayOut: false })).toEqual([expect.stringContaining('shut')]);
  });

  it('does not take a twin that answers nobody for a proof', () => {
    const open = asExpected('no fault, OPEN');
    expect(judge(row('no fault, OPEN'), { ...open, answers: [] })).toEqual([
      expect.stringContaining('the look itself'),
    ]);
  });

  it('is printed with a line for each row, and says which failed', () => {
    const rows = [
      { name: 'a', ok: true },
      { name: 'b', ok: false },
    ].map((one) => ({ ...one, ...asExpected('quiet masked') }));
    const lines = printedTable(rows).split('\n');
    expect(lines).toHaveLength(3);
    expect(lines[2]).toMatch(/^FAIL {2}b .* closed .* none +closed$/);
  });
});
