import { describe, expect, it } from 'vitest';
import { NoBoard } from '../../../../agent/boards/none.ts';
import { UpdateEngine } from '../../../../agent/update-engine.ts';
import { nodeDisk } from '../../../../platform/disk.ts';
import { MemorySource, TestMaker } from '../../../sim/release-fixture.ts';
import { makeFactoryDevice, SimulatedDevice } from '../../../sim/simulated-device.ts';
import { SimulatedDisk } from '../../../sim/simulated-disk.ts';

describe('a device without slots', () => {
  it('has a boot id of the kernel', async () => {
    const { bootId } = await new NoBoard(nodeDisk).bootFacts();
    expect(bootId).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('reboots the machine when new secrets want it', async () => {
    const ran: string[] = [];
    const run = async (program: string) => {
      ran.push(program);
      return { status: 0, stdout: '', said: '' };
    };
    await new NoBoard(nodeDisk, run).requestReboot();
    expect(ran).toEqual(['reboot']);
  });

  it('reports an offer as failed, once, and touches nothing', async () => {
    const maker = new TestMaker();
    const disk = new SimulatedDisk();
    await makeFactoryDevice(disk, {}, maker.factoryRoot);
    const device = new SimulatedDevice(disk, new MemorySource(maker));
    const ports = { ...device.ports(), board: new NoBoard(nodeDisk) };
    const engine = await UpdateEngine.open(ports, device.settings);
    const action = maker.release({ sequence: 2, version: '2.0.0', images: { boot: new Uint8Array(10).fill(1) } });
    for (let polls = 0; polls < 2; polls += 1) {
      await engine.offer(action);
      expect(await engine.run()).toEqual({ rest: 'idle' });
    }
    const failed = device.events.filter(({ kind }) => kind === 'failed');
    expect(failed).toMatchObject([{ code: 'board-has-no-slots' }]);
    expect(engine.status()).toMatchObject({ bootedSlot: null, state: 'idle' });
  });
});
