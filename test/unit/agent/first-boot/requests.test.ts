import { beforeEach, describe, expect, it } from 'vitest';
import { askRotation, findRequests, removeRequest } from '../../../../agent/first-boot/requests.ts';
import { SimulatedDisk } from '../../../sim/simulated-disk.ts';

const PATHS = { own: '/data/first-boot/request', reset: '/boot/reset' };
const warned: string[] = [];
const LOG = {
  info: () => {},
  warn: (_: string, facts?: Record<string, unknown>) => void warned.push(String(facts?.code)),
};
let disk: SimulatedDisk;
beforeEach(async () => {
  disk = new SimulatedDisk();
  warned.length = 0;
  await disk.makeDirectory('/data');
});
const put = (path: string, content: string) => disk.place(path, new TextEncoder().encode(content));
const found = async () => (await findRequests(disk, PATHS, LOG)).map(({ path, wants }) => `${path} ${wants}`);

describe('requests to the first boot', () => {
  it("are the word in the agent's own folder, and a file by being there in the other place", async () => {
    expect(await found()).toEqual([]);
    await askRotation(disk, '/data/first-boot');
    await put(PATHS.reset, '');
    expect(await found()).toEqual(['/data/first-boot/request rotate', '/boot/reset reset']);
    await put(PATHS.own, ' reset \n');
    expect(await found()).toEqual(['/data/first-boot/request reset', '/boot/reset reset']);
  });

  it('are nothing when the word is unknown, the file too large or unreadable, and that is told', async () => {
    await put(PATHS.own, 'open');
    await put(PATHS.reset, 'x'.repeat(5000));
    expect(await found()).toEqual([]);
    disk.fault = ({ path }) => (path === PATHS.own ? { code: 'EIO' } : undefined);
    expect(await found()).toEqual([]);
    expect(warned).toEqual(['request-unknown', 'request-unreadable', 'request-unreadable', 'request-unreadable']);
  });

  it('are removed for good, or it is said that one stays', async () => {
    await put(PATHS.reset, '');
    const [request] = await findRequests(disk, PATHS, LOG);
    if (request === undefined) throw new Error('it is not found');
    disk.fault = ({ kind }) => (kind === 'remove' ? { code: 'EROFS' } : undefined);
    expect(await removeRequest(disk, request, LOG)).toBe(false);
    disk.fault = () => undefined;
    expect(await removeRequest(disk, request, LOG)).toBe(true);
    expect(disk.cut('drop').contentOf(PATHS.reset)).toBeUndefined();
  });
});
