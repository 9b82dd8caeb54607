import { describe, expect, it } from 'vitest';
import { countersRecord, releaseIn, slotsRecord } from '../../../../agent/storage/counters.ts';
import { DeviceState } from '../../../../agent/storage/device-state.ts';
import { SimulatedDisk } from '../../../sim/simulated-disk.ts';

const STATE = '/data';
const FACTORY = { sequence: 1, version: '1.0.0' };

async function freshDisk(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  await disk.makeDirectory(STATE);
  return disk;
}

describe('what a slot holds, asked before the agent has started', () => {
  it('is what the factory wrote on a device that never ran, byte for byte what the agent says from then on', async () => {
    const disk = await freshDisk();
    const before = await releaseIn(disk, STATE, 'a', FACTORY);
    const booted = { bootId: 'boot-1', slot: 'a', trial: false, onTrial: false } as const;
    await DeviceState.open({ disk }, { stateDirectory: STATE, factoryInstalled: FACTORY }, booted);
    expect(before).toEqual(FACTORY);
    expect(JSON.stringify(await releaseIn(disk, STATE, 'a', FACTORY))).toBe(JSON.stringify(before));
    expect(await releaseIn(disk, STATE, 'b', FACTORY)).toBeNull();
  });

  it('is what the record says, whatever the factory wrote once', async () => {
    const disk = await freshDisk();
    const next = { sequence: 7, version: '7.0.0' };
    await slotsRecord(disk, STATE).write({ a: next, b: null });
    expect(await releaseIn(disk, STATE, 'a', FACTORY)).toEqual(next);
  });

  it('is not known where the record is lost on a device that has run', async () => {
    const disk = await freshDisk();
    await countersRecord(disk, STATE).write({ installedSequence: 3, floorSequence: 0, timeFloorUnixS: 0 });
    expect(await releaseIn(disk, STATE, 'a', FACTORY)).toBeNull();
  });
});
