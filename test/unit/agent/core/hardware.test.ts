import { describe, expect, it } from 'vitest';
import {
  compareHardware,
  HARDWARE_WEIGHTS,
  type HardwareSource,
  hardwareId,
  mergeHardware,
} from '../../../../agent/core/hardware.ts';

const trait = (source: HardwareSource, value: string) => ({
  source,
  weight: HARDWARE_WEIGHTS[source],
  digest: value.repeat(64),
});
const BOARD = [trait('device-tree-serial', '1'), trait('emmc-cid', '1'), trait('maker', '1')];

describe('the hardware that data is bound to', () => {
  it('is the same with one part swapped, or one that was not read', () => {
    expect(compareHardware(BOARD, BOARD)).toBe('same');
    expect(compareHardware(BOARD, [trait('device-tree-serial', '1'), trait('emmc-cid', '2')])).toBe('same');
    expect(compareHardware(BOARD, [trait('maker', '1')])).toBe('same');
    expect(
      compareHardware(BOARD, [trait('device-tree-serial', '2'), trait('emmc-cid', '1'), trait('maker', '1')]),
    ).toBe('same');
  });

  it('is another board when what differs weighs more', () => {
    expect(
      compareHardware(BOARD, [trait('device-tree-serial', '2'), trait('emmc-cid', '2'), trait('maker', '1')]),
    ).toBe('other');
    expect(compareHardware(BOARD, [trait('device-tree-serial', '2')])).toBe('other');
    expect(compareHardware([trait('emmc-cid', '1')], [trait('emmc-cid', '2')])).toBe('other');
  });

  it('is unknown where nothing can be compared', () => {
    expect(compareHardware([], BOARD)).toBe('unknown');
    expect(compareHardware(BOARD, [])).toBe('unknown');
    expect(compareHardware([trait('otp', '1')], [trait('maker', '1')])).toBe('unknown');
  });

  it('has one id, which a lighter part does not change, and none where nothing is known', () => {
    const id = hardwareId(BOARD);
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    expect(hardwareId([trait('maker', '2'), trait('device-tree-serial', '1')])).toBe(id);
    expect(hardwareId([trait('device-tree-serial', '2')])).not.toBe(id);
    expect(hardwareId([])).toBeNull();
  });

  it('keeps what was known of a source that is not read now', () => {
    expect(mergeHardware(BOARD, [trait('emmc-cid', '2')])).toEqual([
      trait('device-tree-serial', '1'),
      trait('emmc-cid', '2'),
      trait('maker', '1'),
    ]);
  });
});
