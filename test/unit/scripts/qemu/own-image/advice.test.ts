import { describe, expect, it } from 'vitest';
import { adviceOn } from '../../../../../scripts/qemu/own-image/advice.ts';

const BOOTED = ['U-Boot 2023.01', 'holdfast: slot a', 'Starting kernel ...', ''];

describe('what a console suggests', () => {
  it.each([
    ['nothing at all', [], '--prepare'],
    ['only the bootloader', ['U-Boot 2023.01', 'scanning'], 'boot.scr'],
    ['a slot without a kernel', ['U-Boot 2023.01', 'holdfast: slot a'], 'holdfast_load'],
    ['a silent kernel', BOOTED, 'console=ttyAMA0'],
    ['a panic', [...BOOTED, '[ 1.0] Kernel panic - not syncing: Attempted to kill init!'], 'panic=10'],
    ['a kernel that runs', [...BOOTED, '[ 1.0] Linux version 6.1'], 'DHCP'],
    ['a silent kernel after one that spoke', [...BOOTED, '[ 1.0] Linux version', ...BOOTED], 'console=ttyAMA0'],
  ])('%s', (_name, lines, says) => {
    expect(adviceOn(lines)).toContain(says);
  });
});
