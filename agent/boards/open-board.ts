/** The adapter that agent.json names. */
import type { Disk } from '../../platform/disk.ts';
import type { Board } from '../core/ports.ts';
import type { BoardConfig } from './board-config.ts';
import { EmulatedBoard } from './emulated.ts';
import { ExecBoard } from './exec.ts';
import { NoBoard } from './none.ts';
import { TrybootBoard } from './tryboot.ts';
import { UBootBoard } from './u-boot.ts';

export function openBoard(board: BoardConfig, disk: Disk): Board {
  if (board.kind === 'emulated') return new EmulatedBoard(disk, board.directory);
  if (board.kind === 'u-boot') return new UBootBoard(disk, board);
  if (board.kind === 'tryboot') return new TrybootBoard(disk, board);
  if (board.kind === 'exec') return new ExecBoard(disk, board);
  return new NoBoard(disk);
}
