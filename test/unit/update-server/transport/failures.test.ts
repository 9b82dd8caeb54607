import { expect, test } from 'vitest';
import { Failures } from '../../../../update-server/transport/failures.ts';

const MINUTE_MS = 60_000;

test('a failure is remembered: a pause that doubles, and after the third none that ends', () => {
  const clock = { now: 0, nowUnixMs: () => clock.now };
  const failures = new Failures(clock);
  expect([failures.forbid('x'), failures.whyForbidden('x')]).toEqual([false, undefined]);
  expect(failures.note('x', 'the disk is full')).toBe(1);
  expect([failures.forbid('x'), failures.forbid('y')]).toEqual([true, false]);
  expect(failures.whyForbidden('x')).toBe('the disk is full');
  clock.now += 10 * MINUTE_MS;
  expect(failures.forbid('x')).toBe(false);
  expect(failures.note('x', 'again')).toBe(2);
  clock.now += 19 * MINUTE_MS;
  expect(failures.forbid('x')).toBe(true);
  clock.now += MINUTE_MS;
  expect(failures.forbid('x')).toBe(false);
  expect(failures.note('x', 'the same')).toBe(3);
  clock.now += 1e9 * MINUTE_MS;
  expect(failures.forbid('x')).toBe(true);
});

test('success makes it forgotten', () => {
  const failures = new Failures({ nowUnixMs: () => 0 });
  failures.note('x', 'no room');
  failures.forget('x');
  expect(failures.forbid('x')).toBe(false);
  expect(failures.note('x', 'no room')).toBe(1);
});
