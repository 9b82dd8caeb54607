import { describe, expect, it } from 'vitest';
import { BOOT, COMMON, DISK_BYTES, PARTITIONS, partitionOf, ROOT } from '../../../../scripts/device-image/layout.ts';

describe("the device's disk", () => {
  it('has partitions one after another, whole MiB, inside the disk with room for both tables', () => {
    let end = 1024 * 1024;
    for (const { startBytes, sizeBytes } of PARTITIONS) {
      expect(startBytes).toBe(end);
      expect(sizeBytes % (1024 * 1024)).toBe(0);
      end += sizeBytes;
    }
    expect(DISK_BYTES - end).toBeGreaterThanOrEqual(1024 * 1024);
  });

  it('has two slots of the same size', () => {
    expect(partitionOf(BOOT.a).sizeBytes).toBe(partitionOf(BOOT.b).sizeBytes);
    expect(partitionOf(ROOT.a).sizeBytes).toBe(partitionOf(ROOT.b).sizeBytes);
  });

  it('keeps what chooses between slots outside of them', () => {
    const inSlots: number[] = [...Object.values(BOOT), ...Object.values(ROOT)];
    expect(inSlots).not.toContain(COMMON);
  });
});
