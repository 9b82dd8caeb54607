/** The classic list: whole, without doubles, and readable by everything that stores passwords in lines. */
import { expect, it } from 'vitest';
import { FACTORY_PAIRS } from '../../../protocol/factory-pairs.ts';

it('has all 60 different pairs of the published list, and those of the images that devices are built from', () => {
  const pairs = FACTORY_PAIRS.map(({ user, password }) => `${user}:${password}`);
  expect(new Set(pairs).size).toBe(pairs.length);
  expect(pairs.length).toBeGreaterThanOrEqual(60);
  const published = pairs.slice(0, 60);
  for (const pair of ['root:xc3511', 'root:', 'admin:', 'guest:12345', 'root:zlxx.', '666666:666666', 'tech:tech']) {
    expect(published).toContain(pair);
  }
  expect(published.filter((pair) => pair.startsWith('root:'))).toHaveLength(32);
  expect(published.filter((pair) => pair.startsWith('admin:'))).toHaveLength(14);
  expect(pairs).toContain('pi:raspberry');
});

it('names no user or password that a line of a password file could not hold', () => {
  expect(FACTORY_PAIRS.filter(({ user, password }) => !/^\w+$/.test(user) || /[\s:]/.test(password))).toEqual([]);
});
