import { describe, expect, it } from 'vitest';
import { EmulatedBoard } from '../../../../agent/boards/emulated.ts';
import { ActiveSlotGuarded, openForReading, openForWriting } from '../../../../agent/storage/slot-image.ts';
import { emulatedPaths, encodeBooted } from '../../../../platform/emulated-boot-env.ts';
import { SimulatedDisk } from '../../../sim/simulated-disk.ts';

async function slots() {
  const disk = new SimulatedDisk();
  await disk.place('/device/board/slots/a/boot.img', new Uint8Array(100).fill(1));
  await disk.place(emulatedPaths('/device').booted, encodeBooted({ bootId: 'boot-1', slot: 'a', trial: false }));
  return { disk, board: new EmulatedBoard(disk, '/device') };
}

describe('images of a slot', () => {
  it('are never opened for writing in the slot that runs', async () => {
    const ports = await slots();
    await expect(openForWriting(ports, 'a', 'boot')).rejects.toThrow(ActiveSlotGuarded);
    expect((await openForReading(ports, 'a', 'boot')) !== undefined).toBe(true);
  });

  it('are made in the other slot, names and all, before the first byte', async () => {
    const ports = await slots();
    const file = await openForWriting(ports, 'b', 'boot');
    await file.write(new Uint8Array(10).fill(2), 0);
    await file.sync();
    expect(ports.disk.cut('drop').contents().get('/device/board/slots/b/boot.img')).toEqual(new Uint8Array(10).fill(2));
  });

  it('are missing without an error when reading', async () => {
    expect(await openForReading(await slots(), 'b', 'boot')).toBeUndefined();
  });
});
