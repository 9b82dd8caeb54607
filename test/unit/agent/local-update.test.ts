/** An update from a stick, in the engine: no server calls it off, and it ends where its source is gone. */
import { describe, expect, it } from 'vitest';
import { localAction } from '../../../agent/core/local-action.ts';
import type { Offer } from '../../../agent/core/ports.ts';
import { journalRecord } from '../../../agent/storage/journal.ts';
import { UpdateEngine } from '../../../agent/update-engine.ts';
import { MemorySource, TestMaker } from '../../sim/release-fixture.ts';
import { makeFactoryDevice, SimulatedDevice, STATE } from '../../sim/simulated-device.ts';
import { SimulatedDisk } from '../../sim/simulated-disk.ts';

const V1 = { rootfs: new Uint8Array(3_000_000).fill(1) };
const V2 = { rootfs: new Uint8Array(3_000_000).fill(2) };

async function downloading(offer: (maker: TestMaker) => Offer) {
  const maker = new TestMaker();
  const disk = new SimulatedDisk();
  await makeFactoryDevice(disk, V1, maker.factoryRoot);
  const source = new MemorySource(maker);
  const device = new SimulatedDevice(disk, source);
  device.offline = true;
  await device.boot();
  const engine = await UpdateEngine.open(device.ports(), device.settings);
  const first = offer(maker);
  await engine.offer(first);
  const state = async () => {
    const found = await journalRecord(disk, STATE).read();
    return found.found === 'whole' ? found.value : undefined;
  };
  return { maker, disk, device, source, engine, state };
}

const good = (maker: TestMaker) => maker.release({ sequence: 2, version: '2.0.0', images: V2 });
const fromStick = (maker: TestMaker) => localAction(good(maker), '0011223344556677');

describe('a server that offers nothing, or something else, in the middle of an installation', () => {
  it('calls off one that it offered itself', async () => {
    const { engine, source, state } = await downloading(good);
    source.beforeRange = () => void engine.offer(null);
    expect(await engine.run()).toEqual({ rest: 'idle' });
    expect(await state()).toMatchObject({ state: 'idle' });
  });

  it('does not call off one that a person brought', async () => {
    const { engine, source, state } = await downloading(fromStick);
    source.beforeRange = () => void engine.offer(null);
    expect(await engine.run()).toEqual({ rest: 'reboot' });
    expect(await state()).toMatchObject({ state: 'armed', serverBefore: false });
  });

  it('does not supersede one that a person brought; another stick does', async () => {
    const { engine, source, maker, state } = await downloading(fromStick);
    const other = maker.release({ sequence: 3, version: '3.0.0', images: V2 });
    source.beforeRange = () => void engine.offer(other);
    expect(await engine.run()).toEqual({ rest: 'reboot' });
    expect(await state()).toMatchObject({ state: 'armed', plan: { sequence: 2 } });

    const again = await downloading(fromStick);
    const third = again.maker.release({ sequence: 3, version: '3.0.0', images: V2 });
    again.source.beforeRange = () => void again.engine.offer(localAction(third, '8899aabbccddeeff'));
    expect(await again.engine.run()).toEqual({ rest: 'reboot' });
    expect(await again.state()).toMatchObject({ state: 'armed', plan: { sequence: 3 } });
  });
});

describe('a device that starts again without the stick', () => {
  it('ends the installation, says why, and takes up what its server offers', async () => {
    const { engine, source, device, maker } = await downloading(fromStick);
    source.away = true;
    await engine.run();
    device.offline = false;
    source.away = false;
    const later = maker.release({ sequence: 3, version: '3.0.0', images: V2 });
    const { rest } = await device.runToRest(later);
    expect(rest).toEqual({ rest: 'idle' });
    expect(device.events).toContainEqual(expect.objectContaining({ kind: 'failed', code: 'local-source-gone' }));
    expect(device.events).toContainEqual(expect.objectContaining({ kind: 'confirmed', sequence: 3 }));
  });
});
