import { describe, expect, it } from 'vitest';
import { applyAllowances, parseAllowance } from '../../../../cli/image-lint/allowance.ts';
import type { Finding } from '../../../../cli/image-lint/findings.ts';
import { faultCode } from '../../keys/workshop.ts';

const finding = (code: Finding['code'], path: string): Finding => {
  return {
    code,
    severity: 'error',
    volume: '',
    path,
    line: null,
    what: 'it is there',
    cure: 'Remove it.',
    allowed: null,
  };
};

describe('--allow', () => {
  it.each([
    ['host-key=for the bench', { code: 'host-key', path: null, reason: 'for the bench' }],
    ['host-key:/etc/ssh/x=a=b', { code: 'host-key', path: '/etc/ssh/x', reason: 'a=b' }],
  ])('%s', (text, allowance) => expect(parseAllowance(text)).toEqual(allowance));

  it.each(['', 'host-key', 'host-key=', 'host-key= ', 'host-key:etc=x', '=x', 'Host-Key=x'])(
    'refuses %j',
    async (text) => expect(await faultCode(() => parseAllowance(text))).toBe('allowance-malformed'),
  );

  it('refuses a finding that there is not, also one that every object has', async () => {
    for (const code of ['host-keys', 'constructor'])
      expect(await faultCode(() => parseAllowance(`${code}=x`))).toBe('finding-unknown');
  });

  it('fits one path, a folder, or everywhere, and nothing of another code', () => {
    const found = [finding('host-key', '/etc/ssh/a'), finding('host-key', '/etc/sshx'), finding('token', '/etc/ssh/a')];
    const allowed = (path: string | null) =>
      applyAllowances(found, [{ code: 'host-key', path, reason: 'why' }]).map(({ allowed: reason }) => reason);
    expect(allowed('/etc/ssh/a')).toEqual(['why', null, null]);
    expect(allowed('/etc/ssh/')).toEqual(['why', null, null]);
    expect(allowed('/etc/ssh')).toEqual([null, null, null, null]);
    expect(allowed(null)).toEqual(['why', 'why', null]);
  });

  it('that fits nothing is a note', () => {
    expect(applyAllowances([], [{ code: 'token', path: '/x', reason: 'why' }])).toMatchObject([
      { code: 'allowance-unused', severity: 'note', what: '--allow token:/x fits nothing' },
    ]);
  });
});
