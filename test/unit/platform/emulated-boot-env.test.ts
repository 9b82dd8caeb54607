import { describe, expect, it } from 'vitest';
import {
  chooseBoot,
  decodeBootEnv,
  decodeBooted,
  type EmulatedBootEnv,
  encodeBootEnv,
  encodeBooted,
  readBootEnv,
  writeBootEnv,
} from '../../../platform/emulated-boot-env.ts';
import { SimulatedDisk } from '../../sim/simulated-disk.ts';

const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

describe('the emulated bootloader', () => {
  const ORDER = ['a', 'b'] as const;

  it('boots the first slot of the order when no trial is owed, and writes nothing', () => {
    const env: EmulatedBootEnv = { order: ['b', 'a'], trial: null };
    expect(chooseBoot(env)).toEqual({ slot: 'b', trial: false, env });
    expect(chooseBoot(env).env).toBe(env);
  });

  it('boots a trial as often as it has attempts, then the order again, and leaves the spent trial to be seen', () => {
    let env: EmulatedBootEnv = { order: ORDER, trial: { slot: 'b', attemptsLeft: 3 } };
    const boots = [];
    for (let boot = 0; boot < 5; boot += 1) {
      const choice = chooseBoot(env);
      boots.push(`${choice.slot}${choice.trial ? '?' : ''}`);
      env = choice.env;
    }
    expect(boots).toEqual(['b?', 'b?', 'b?', 'a', 'a']);
    expect(env.trial).toEqual({ slot: 'b', attemptsLeft: 0 });
  });
});

describe('the boot environment', () => {
  it('reads what it wrote', async () => {
    const disk = new SimulatedDisk();
    await disk.makeDirectory('/device/board');
    const env: EmulatedBootEnv = { order: ['b'], trial: { slot: 'a', attemptsLeft: 1 } };
    await writeBootEnv(disk, '/device', env);
    expect(await readBootEnv(disk, '/device')).toEqual(env);
    expect(decodeBootEnv(encodeBootEnv(env))).toEqual(env);
  });

  it.each([
    ['nothing', []],
    ['no order', { trial: null }],
    ['an empty order', { order: [], trial: null }],
    ['a slot twice', { order: ['a', 'a'], trial: null }],
    ['an unknown slot', { order: ['c'], trial: null }],
    ['an unknown field', { order: ['a'], trial: null, more: 1 }],
    ['more attempts than a trial gets', { order: ['a'], trial: { slot: 'b', attemptsLeft: 4 } }],
    ['half an attempt', { order: ['a'], trial: { slot: 'b', attemptsLeft: 0.5 } }],
    ['a trial of nothing', { order: ['a'], trial: { attemptsLeft: 1 } }],
  ])('refuses %s', (_name, value) => {
    expect(decodeBootEnv(text(value))).toBeUndefined();
  });

  it('refuses what is not JSON', () => {
    expect(decodeBootEnv(new Uint8Array([255, 254]))).toBeUndefined();
  });
});

describe('what the boot loop says it booted', () => {
  it('reads what it wrote, and nothing else', () => {
    const facts = { bootId: 'boot-1', slot: 'a', trial: false } as const;
    expect(decodeBooted(encodeBooted(facts))).toEqual(facts);
    expect(decodeBooted(text({ ...facts, bootId: 'Not a name' }))).toBeUndefined();
    expect(decodeBooted(text({ ...facts, more: 1 }))).toBeUndefined();
    expect(decodeBooted(text({ slot: 'a', trial: false }))).toBeUndefined();
  });
});
