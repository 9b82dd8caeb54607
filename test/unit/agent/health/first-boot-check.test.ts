import { beforeEach, describe, expect, it } from 'vitest';
import { FACTORY_RECORD, firstBootRecord } from '../../../../agent/first-boot/first-boot-record.ts';
import { firstBootTrouble } from '../../../../agent/health/first-boot-check.ts';
import { SimulatedDisk } from '../../../sim/simulated-disk.ts';

const DIRECTORY = '/data/first-boot';
let disk: SimulatedDisk;
beforeEach(async () => {
  disk = new SimulatedDisk();
  await disk.makeDirectory(DIRECTORY);
});
const check = (bootId: string) =>
  firstBootTrouble({ disk, directory: DIRECTORY, bootId: async () => bootId, waitMs: 0 });
const write = (change: object) => firstBootRecord(disk, DIRECTORY).write({ ...FACTORY_RECORD, ...change });

describe('a trial, as far as the first boot judges it', () => {
  it('passes in the boot that opened, and in no later one', async () => {
    await write({ state: 'open', opened: { bootId: 'now', slot: 'a', release: null } });
    expect(await check('now')).toBeUndefined();
    expect(await check('later')).toMatchObject({ code: 'not-open' });
  });

  it('fails with the code and the provider of what blocks', async () => {
    await write({
      state: 'blocked',
      resume: 'applied',
      trouble: { provider: 'ssh', code: 'old-accepted', detail: 'pi' },
    });
    expect(await check('now')).toEqual({ code: 'old-accepted', detail: 'blocked; ssh: pi' });
  });

  it('fails without a record, or with a damaged one', async () => {
    expect(await check('now')).toEqual({ code: 'record-missing', detail: 'absent' });
    for (const copy of [0, 1]) await disk.place(`${DIRECTORY}/record.${copy}`, new Uint8Array(3));
    expect(await check('now')).toMatchObject({ code: 'record-missing' });
  });
});
