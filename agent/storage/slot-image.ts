/**
 * The one door to a slot's images. Only the slot that is not booted is ever opened for writing.
 *
 * Invariants: the guard asks the board which slot runs each time an image is opened for writing, and refuses that one:
 * verification, delta and dm-verity stand on no byte of the active slot ever changing.
 */
import { dirname } from 'node:path';
import type { Disk } from '../../platform/disk.ts';
import { makeDirectoryDurably } from '../../platform/durable-file.ts';
import { systemErrorCode } from '../../platform/fault.ts';
import type { Board, Slot } from '../core/ports.ts';
import { SlotFile } from './slot-file.ts';

/** An attempt to write to the slot that runs: always a bug, never the world's fault. */
export class ActiveSlotGuarded extends Error {
  override readonly name = 'ActiveSlotGuarded';
}

type SlotPorts = { readonly disk: Disk; readonly board: Board };

/** Opens one image of the inactive slot for writing, made if it is not there. */
export async function openForWriting(ports: SlotPorts, slot: Slot, component: string): Promise<SlotFile> {
  const { slot: booted } = await ports.board.bootFacts();
  const path = ports.board.imagePath(slot, component);
  if (slot === booted || path === ports.board.imagePath(booted, component)) {
    throw new ActiveSlotGuarded(`${path} belongs to slot ${booted}, which is booted`);
  }
  try {
    return await SlotFile.open(ports.disk, path, 'update');
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
  }
  await makeDirectoryDurably(ports.disk, dirname(path));
  const made = await ports.disk.open(path, 'create');
  await made.close();
  await ports.disk.syncDirectory(dirname(path));
  return SlotFile.open(ports.disk, path, 'update');
}

/** Opens one image of either slot for reading; undefined when there is none. */
export async function openForReading(ports: SlotPorts, slot: Slot, component: string): Promise<SlotFile | undefined> {
  try {
    return await SlotFile.open(ports.disk, ports.board.imagePath(slot, component), 'read');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
