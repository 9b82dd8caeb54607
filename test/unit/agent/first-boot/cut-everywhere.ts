/**
 * Cuts the power at every disk operation of something, in three ways each (nothing unsynced kept, all kept, any part
 * kept), and does it again on what is left: it must end the same.
 */
import { expect } from 'vitest';
import { type SimulatedDisk, seededRandom } from '../../../sim/simulated-disk.ts';
import { textOf } from './folder-device.ts';

export interface CutTrial {
  readonly disk: SimulatedDisk;
  /** Done once whole, and again on every disk that a cut left. */
  readonly act: (disk: SimulatedDisk) => Promise<void>;
  /** Asked of every disk as the cut left it. */
  readonly always?: (disk: SimulatedDisk, cut: string) => Promise<void> | void;
  /** Files whose content must end the same. */
  readonly compared: (path: string) => boolean;
}

/** Answers how many cuts there were. */
export async function cutEverywhere({ disk, act, always, compared }: CutTrial): Promise<number> {
  const random = seededRandom(7);
  const cuts: { readonly name: string; readonly left: SimulatedDisk }[] = [];
  disk.afterOperation = ({ number, text }) => {
    for (const policy of ['drop', 'keep', 'random'] as const) {
      cuts.push({ name: `${policy} after ${number} ${text}`, left: disk.cut(policy, random) });
    }
  };
  await act(disk);
  disk.afterOperation = () => {};
  const wanted = seen(disk, compared);
  expect(wanted.size).toBeGreaterThan(0);
  for (const { name, left } of cuts) {
    await always?.(left, name);
    await act(left);
    expect(seen(left, compared), name).toEqual(wanted);
  }
  return cuts.length;
}

function seen(disk: SimulatedDisk, compared: (path: string) => boolean): Map<string, string> {
  const found = [...disk.contents()]
    .filter(([path]) => compared(path))
    .map(([path, bytes]) => [path, textOf(bytes)] as const);
  return new Map(found.sort(([a], [b]) => (a < b ? -1 : 1)));
}
