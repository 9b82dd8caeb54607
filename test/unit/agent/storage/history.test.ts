import { describe, expect, it } from 'vitest';
import { History } from '../../../../agent/storage/history.ts';
import type { DiskFile } from '../../../../platform/disk.ts';
import { decodeHistory, type HistoryEntry } from '../../../../protocol/history.ts';
import { HISTORY_CAP_BYTES } from '../../../../protocol/history-file.ts';
import { SimulatedDisk } from '../../../sim/simulated-disk.ts';

const entry = (number: number): HistoryEntry => ({
  kind: 'event',
  atUnixMs: number,
  before: 'idle',
  event: 'offered',
  state: 'checking',
  actionId: `action-${number}`,
  why: '',
});
const textOf = (disk: SimulatedDisk, name: string) => new TextDecoder().decode(disk.contents().get(`/data/${name}`));

async function madeDisk(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  await disk.makeDirectory('/data');
  return disk;
}

describe('the history of decisions', () => {
  it('keeps the newest in two files, neither above its cap', async () => {
    const disk = await madeDisk();
    const history = new History(disk, '/data');
    for (let number = 0; number < 2000; number += 1) await history.note(entry(number));
    const [older, newer] = ['history.1', 'history'].map((name) => textOf(disk, name));
    expect(Math.max(older?.length ?? 0, newer?.length ?? 0)).toBeLessThanOrEqual(HISTORY_CAP_BYTES);
    const kept = [older ?? '', newer ?? ''].flatMap((text) => decodeHistory(text).entries);
    expect(kept.length).toBeGreaterThan(400);
    expect(kept.map(({ atUnixMs }) => atUnixMs)).toEqual(kept.map((_, index) => 2000 - kept.length + index));
  });

  it('goes on behind a line that a power cut tore', async () => {
    const disk = await madeDisk();
    await new History(disk, '/data').note(entry(1));
    const file = await disk.open('/data/history', 'update');
    await file.write(new TextEncoder().encode('{"kind":"event","atUn'), await file.sizeBytes());
    await new History(disk, '/data').note(entry(2));
    const { entries, unread } = decodeHistory(textOf(disk, 'history'));
    expect([entries.map(({ atUnixMs }) => atUnixMs), unread]).toEqual([[1, 2], 1]);
  });

  it('costs a full disk the note and nothing else; a bug surfaces', async () => {
    const disk = await madeDisk();
    const failing = (error: Error) => {
      const open = async (): Promise<DiskFile> => Promise.reject(error);
      return new History(Object.assign(Object.create(disk), { open }), '/data');
    };
    await failing(Object.assign(new Error('ENOSPC: no space'), { code: 'ENOSPC' })).note(entry(1));
    await expect(failing(new TypeError('a bug')).note(entry(1))).rejects.toThrow('a bug');
  });
});
