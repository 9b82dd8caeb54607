import { describe, expect, it } from 'vitest';
import { DiskMetadataStore } from '../../../../agent/storage/metadata-store.ts';
import { SimulatedDisk } from '../../../sim/simulated-disk.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

async function open(disk = new SimulatedDisk()) {
  await disk.place('/factory/root.json', bytes('factory root'));
  await disk.makeDirectory('/device');
  await disk.syncDirectory('/');
  const warned: unknown[] = [];
  const log = { info: () => {}, warn: (_message: string, facts?: unknown) => void warned.push(facts) };
  const facts = { disk, stateDirectory: '/device/data', factoryRootPath: '/factory/root.json', log };
  return { disk, warned, store: await DiskMetadataStore.open(facts) };
}

describe('the metadata store', () => {
  it('gives the factory root until another was stored', async () => {
    const { store } = await open();
    expect(await store.read('root')).toEqual(bytes('factory root'));
    await store.write('root', bytes('next root'));
    expect(await store.read('root')).toEqual(bytes('next root'));
    expect(await store.read('timestamp')).toBeUndefined();
  });

  it('keeps what it wrote, and only what it wrote, through a power cut', async () => {
    const { store, disk } = await open();
    await store.write('timestamp', bytes('first'));
    const cuts: SimulatedDisk[] = [];
    disk.afterOperation = () => cuts.push(disk.cut('drop'));
    await store.write('timestamp', bytes('second'));
    disk.afterOperation = () => {};
    for (const cut of cuts) {
      const found = await (await open(cut)).store.read('timestamp');
      expect(['first', 'second']).toContain(new TextDecoder().decode(found));
    }
    expect(await (await open(disk.cut('drop'))).store.read('timestamp')).toEqual(bytes('second'));
    await store.remove('timestamp');
    expect(await (await open(disk.cut('drop'))).store.read('timestamp')).toBeUndefined();
  });

  it('does not give out a damaged file, says which one it is, and falls back to the factory root', async () => {
    const { store, disk, warned } = await open();
    await store.write('root', bytes('next root'));
    const stored = disk.contents().get('/device/data/metadata/root.json') ?? new Uint8Array();
    await disk.place(
      '/device/data/metadata/root.json',
      stored.map((byte, at) => (at === 70 ? byte ^ 1 : byte)),
    );
    expect(await store.read('root')).toEqual(bytes('factory root'));
    expect(warned).toMatchObject([{ code: 'metadata-damaged', path: '/device/data/metadata/root.json' }]);
  });

  it('takes a file with a bad block for none, and writes another in its place', async () => {
    const { store, disk } = await open();
    await store.write('timestamp', bytes('first'));
    disk.fault = ({ kind, path }) =>
      kind === 'read' && path.endsWith('/timestamp.json') ? { code: 'EIO' } : undefined;
    expect(await store.read('timestamp')).toBeUndefined();
    await store.write('timestamp', bytes('second'));
    disk.fault = () => undefined;
    expect(await store.read('timestamp')).toEqual(bytes('second'));
  });

  it('does not read more than a file of that kind may have', async () => {
    const { store, disk } = await open();
    await disk.place('/device/data/metadata/timestamp.json', new Uint8Array(17 * 1024));
    expect(await store.read('timestamp')).toBeUndefined();
  });

  it('says with a cure that there is no factory root', async () => {
    const { store, disk } = await open();
    await disk.remove('/factory/root.json');
    await expect(store.read('root')).rejects.toMatchObject({
      code: 'factory-root-missing',
      where: '/factory/root.json',
    });
  });
});
