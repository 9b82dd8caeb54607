/** Passwords that people choose: the standard's rules, each with its twin that is accepted. */
import { expect, it } from 'vitest';
import { judgePassword } from '../../../../agent/first-boot/password-rules.ts';

it.each([
  'correct horse battery staple',
  'aaaabbbbccccdddd-but-not-that',
  'lange wörter sind gut',
  '密码是一串很长的不会被猜到的文字啊',
  'x7!kQ zz# 0pLm==',
])('accepts %j: long, and of no list', (text) => {
  expect(judgePassword(text)).toEqual({ ok: true, text });
});

it.each([
  ['fourteen-chars', 'password-too-short'],
  ['🦀🦀🦀🦀🦀🦀🦀', 'password-too-short'],
  ['x'.repeat(129), 'password-too-long'],
  ['passwordpassword', 'password-listed'],
  ['Password-2024!!', 'password-listed'],
  ['7ujMko0admin123', 'password-listed'],
  ['123456789012345', 'password-listed'],
  ['abcdefghijklmnop', 'password-listed'],
  ['abcabcabcabcabcabc', 'password-listed'],
  ['AdministratorAdministrator', 'password-listed'],
  ['a password\twith a tab', 'password-unwritable'],
  ['a password\nin two lines', 'password-unwritable'],
])('refuses %j: %s', (text, code) => {
  const verdict = judgePassword(text);
  expect(verdict).toMatchObject({ ok: false, code });
  expect(verdict.ok ? '' : verdict.detail).not.toContain(text);
});

it('counts code points, not bytes or UTF-16, and takes two ways of writing a letter for one', () => {
  expect(judgePassword('🦀🐙🐚🐠🐡🐬🐳🐋🦈🐊🐢🦎🐍🐉🦕').ok).toBe(true);
  const composed = judgePassword('caf\u00e9 au lait pour deux');
  expect(judgePassword('cafe\u0301 au lait pour deux')).toEqual(composed);
});

it('refuses what is made of the names of the account and the device, which everybody knows', () => {
  expect(judgePassword('acme-camera-0042', ['acme-camera-0042'])).toMatchObject({ ok: false, code: 'password-listed' });
  expect(judgePassword('acme-camera-0042 and a long tail', ['acme-camera-0042']).ok).toBe(true);
});
