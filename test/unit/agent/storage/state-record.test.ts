import { describe, expect, it } from 'vitest';
import { countersRecord, raised } from '../../../../agent/storage/counters.ts';
import { FIRST_JOURNAL, journalRecord } from '../../../../agent/storage/journal.ts';
import { quarantineRecord } from '../../../../agent/storage/quarantine-store.ts';
import { SimulatedDisk } from '../../../sim/simulated-disk.ts';

const COUNTERS = { installedSequence: 3, floorSequence: 2, timeFloorUnixS: 100 };

async function dataDisk(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  await disk.place('/data/keep', new Uint8Array(1));
  return disk;
}

describe('a record of the agent', () => {
  it('is absent before it was written', async () => {
    expect(await countersRecord(await dataDisk(), '/data').read()).toEqual({ found: 'absent' });
  });

  it('stands in two copies from its first write on, so that one bad file never takes it away', async () => {
    for (const copy of [0, 1]) {
      const disk = await dataDisk();
      await countersRecord(disk, '/data').write(COUNTERS);
      await disk.place(`/data/counters.${copy}`, new Uint8Array(40));
      expect(await countersRecord(disk, '/data').read()).toMatchObject({ found: 'whole', value: COUNTERS });
    }
  });

  it('does not lower a counter when either copy is damaged after a raise', async () => {
    for (const copy of [0, 1]) {
      const disk = await dataDisk();
      const record = countersRecord(disk, '/data');
      await record.write(COUNTERS);
      await record.write({ ...COUNTERS, installedSequence: 4 });
      await disk.place(`/data/counters.${copy}`, new Uint8Array(40));
      expect(await record.read()).toMatchObject({ value: { ...COUNTERS, installedSequence: 4 }, damagedCopies: 1 });
    }
  });

  it('falls back to the journal before when the newest copy is damaged', async () => {
    const disk = await dataDisk();
    const record = journalRecord(disk, '/data');
    await record.write(FIRST_JOURNAL);
    await record.write({ ...FIRST_JOURNAL, state: 'checking' });
    await disk.place('/data/journal.0', new Uint8Array(40));
    expect(await record.read()).toMatchObject({ value: FIRST_JOURNAL, damagedCopies: 1 });
  });

  it('names its file when both copies are damaged', async () => {
    const disk = await dataDisk();
    for (const copy of [0, 1]) await disk.place(`/data/counters.${copy}`, new Uint8Array(40));
    const reading = await countersRecord(disk, '/data').read();
    expect(reading).toMatchObject({ found: 'damaged', detail: expect.stringContaining('/data/counters.0') });
  });

  it('refuses content of another shape, however well it is checksummed', async () => {
    const disk = await dataDisk();
    await quarantineRecord(disk, '/data').write({ entries: [], returns: null });
    for (const copy of [0, 1]) {
      const bytes = disk.contents().get(`/data/quarantine.${copy}`) ?? new Uint8Array();
      await disk.place(`/data/counters.${copy}`, bytes);
    }
    expect(await countersRecord(disk, '/data').read()).toMatchObject({ found: 'damaged' });
  });

  it('takes a first write that was cut for no write at all', async () => {
    const disk = await dataDisk();
    await disk.place('/data/counters.0', new Uint8Array(7));
    expect(await countersRecord(disk, '/data').read()).toEqual({ found: 'absent' });
  });

  it('holds the journal as it was written', async () => {
    const disk = await dataDisk();
    const journal = {
      ...FIRST_JOURNAL,
      state: 'downloading',
      owed: ['retire-slot', 'fill-slot'],
      target: 'b',
      filled: [{ component: 'boot', sha256: 'ab'.repeat(32), blocks: 7 }],
    } as const;
    const record = journalRecord(disk, '/data');
    await record.write({ ...journal, owed: [...journal.owed], filled: [...journal.filled] });
    expect(await record.read()).toMatchObject({ found: 'whole', value: journal });
  });
});

describe('counters', () => {
  it('never fall, each for itself', () => {
    const lower = { installedSequence: 1, floorSequence: 9, timeFloorUnixS: 5 };
    expect(raised(COUNTERS, lower)).toEqual({ installedSequence: 3, floorSequence: 9, timeFloorUnixS: 100 });
  });
});
