import { describe, expect, it } from 'vitest';
import { type Attack, accepted, judge, refused } from '../../../../scripts/attacks/attack.ts';
import { IMAGE_ATTACKS } from '../../../../scripts/attacks/image-attacks.ts';
import { WIRE_ATTACKS } from '../../../../scripts/attacks/wire-attacks.ts';
import { REFUSALS } from '../../../../trust/refusal.ts';

const attack: Attack<undefined> = {
  name: 'one flipped bit',
  by: 'device',
  expectedCode: 'block-digest-mismatch',
  make: async () => ({ attack: accepted(), twin: accepted() }),
};

describe('judging an attack', () => {
  it('finds nothing when it was refused with its code and its twin accepted', () => {
    const { row, finding } = judge(attack, { attack: refused('block-digest-mismatch', ''), twin: accepted() });
    expect(finding).toBe('');
    expect(row).toEqual({ attack: 'one flipped bit', by: 'device', code: 'block-digest-mismatch', twinAccepted: true });
  });

  it('finds an attack that was accepted', () => {
    const { row, finding } = judge(attack, { attack: accepted(), twin: accepted() });
    expect(finding).toContain('accepted');
    expect(row.code).toBe('');
  });

  it('finds a refusal for another reason, and reports the reason that was given', () => {
    const { row, finding } = judge(attack, { attack: refused('metadata-expired', 'yesterday'), twin: accepted() });
    expect(finding).toContain('metadata-expired');
    expect(row.code).toBe('metadata-expired');
  });

  it('finds a twin that was refused as well', () => {
    const { row, finding } = judge(attack, { attack: refused('block-digest-mismatch', ''), twin: refused('x', 'y') });
    expect(finding).toContain('twin');
    expect(row.twinAccepted).toBe(false);
  });
});

describe('the table of attacks', () => {
  const all = [...IMAGE_ATTACKS, ...WIRE_ATTACKS];

  it('names each attack once', () => {
    expect(new Set(all.map(({ name }) => name)).size).toBe(all.length);
  });

  it('expects a code of its own for each attack', () => {
    const codes = all.map(({ expectedCode }) => expectedCode);
    expect(new Set(codes).size).toBe(codes.length);
  });

  it('expects of devices only codes of the closed union', () => {
    const unknown = all.filter(({ by, expectedCode }) => by === 'device' && !Object.hasOwn(REFUSALS, expectedCode));
    expect(unknown).toEqual([]);
  });
});
