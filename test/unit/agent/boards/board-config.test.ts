import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { BoardConfig, resolveBoard } from '../../../../agent/boards/board-config.ts';
import { openBoard } from '../../../../agent/boards/open-board.ts';
import { nodeDisk } from '../../../../platform/disk.ts';

const slots = { a: { rootfs: 'slots/a' }, b: { rootfs: 'slots/b' } };
const BOARDS = {
  'u-boot': { kind: 'u-boot', slots, goodSlotFile: 'good' },
  tryboot: { kind: 'tryboot', slots, autobootFile: '/boot/autoboot.txt', partitions: { a: 2, b: 3 } },
  exec: { kind: 'exec', slots, executable: 'board', trialAttempts: 2 },
  emulated: { kind: 'emulated', directory: '..' },
  none: { kind: 'none' },
} as const;

const resolved = (board: unknown) =>
  resolveBoard(v.parse(BoardConfig, board), (path) => `/factory/${path}`.replace(/^.*\/\//, '/'));

describe('the board of agent.json', () => {
  it.each(Object.entries(BOARDS))('opens %s', (kind, board) => {
    expect(openBoard(resolved(board), nodeDisk).kind).toBe(kind);
  });

  it('has absolute places once it is read, of files as of slots', () => {
    expect(resolved(BOARDS['u-boot'])).toEqual({
      kind: 'u-boot',
      slots: { a: { rootfs: '/factory/slots/a' }, b: { rootfs: '/factory/slots/b' } },
      goodSlotFile: '/factory/good',
      environmentConfig: '/etc/fw_env.config',
      defaultEnvironment: '/etc/u-boot-initial-env',
      procDirectory: '/proc',
    });
    expect(resolved(BOARDS.tryboot)).toMatchObject({ autobootFile: '/boot/autoboot.txt', partitions: { a: 2, b: 3 } });
    expect(resolved(BOARDS.exec)).toMatchObject({ executable: '/factory/board', deadlineMs: 30_000 });
  });

  it.each([
    ['a kind that there is not', { kind: 'grub' }],
    ['a field that it does not know', { ...BOARDS['u-boot'], canary: false }],
    ['no slots', { kind: 'u-boot', goodSlotFile: 'good' }],
    ['slots without images', { ...BOARDS['u-boot'], slots: { a: {}, b: {} } }],
    ['slots with different images', { ...BOARDS['u-boot'], slots: { a: { rootfs: 'x' }, b: { boot: 'y' } } }],
    ['one place for both slots', { ...BOARDS['u-boot'], slots: { a: { rootfs: 'x' }, b: { rootfs: 'x' } } }],
    ['an image name that leads elsewhere', { ...BOARDS['u-boot'], slots: { a: { '../x': 'x' }, b: { '../x': 'y' } } }],
    ['one partition for both slots', { ...BOARDS.tryboot, partitions: { a: 2, b: 2 } }],
    ['no attempts', { ...BOARDS.exec, trialAttempts: 0 }],
  ])('is refused with %s', (_, board) => {
    expect(v.safeParse(BoardConfig, board).success).toBe(false);
  });
});
