/**
 * Is this the board that the data was made on? By weights, because a part may be swapped or not be read for once, and
 * that is not another board.
 *
 *   3  device-tree-serial   the SoC's serial number, as the device tree has it: fused, or burnt in by its maker
 *   3  otp                  one-time programmable memory that agent.json names
 *   2  emmc-cid             the CID of a soldered eMMC; never of an SD card, which moves with the data
 *   1  maker                a file of the maker's own, where hardware tells something that nothing else does
 *
 * Compared is what both know. The board is another one when what differs weighs more than what agrees; as much is the
 * same board. A network address is no trait: software sets it, and its adapter is plugged in.
 * May not: read anything (agent/first-boot/read-hardware.ts does).
 */
import { utf8 } from '../../trust/bytes.ts';
import { sha256Hex } from '../../trust/crypto.ts';
import type { HardwareTrait } from './first-boot-ports.ts';

export const HARDWARE_WEIGHTS = { 'device-tree-serial': 3, otp: 3, 'emmc-cid': 2, maker: 1 } as const;
export type HardwareSource = keyof typeof HARDWARE_WEIGHTS;

export type HardwareComparison =
  | 'same'
  | 'other'
  /** Nothing is known of both: no reason to think that it is another one, and none to bind to. */
  | 'unknown';

export function compareHardware(
  recorded: readonly HardwareTrait[],
  seen: readonly HardwareTrait[],
): HardwareComparison {
  let agrees = 0;
  let differs = 0;
  for (const { source, weight, digest } of seen) {
    const former = recorded.find((trait) => trait.source === source);
    if (former === undefined) continue;
    if (former.digest === digest) agrees += weight;
    else differs += weight;
  }
  if (agrees + differs === 0) return 'unknown';
  return differs > agrees ? 'other' : 'same';
}

/** What is known from now on: what was seen, and of the rest what was known. */
export function mergeHardware(
  recorded: readonly HardwareTrait[],
  seen: readonly HardwareTrait[],
): readonly HardwareTrait[] {
  const kept = recorded.filter(({ source }) => !seen.some((trait) => trait.source === source));
  return [...seen, ...kept].sort((a, b) => (a.source < b.source ? -1 : 1));
}

/**
 * One digest for reports, over the heaviest traits alone: a lighter part that is swapped leaves it as it was. Null: nothing
 * identifies this hardware.
 */
export function hardwareId(traits: readonly HardwareTrait[]): string | null {
  if (traits.length === 0) return null;
  const heaviest = Math.max(...traits.map(({ weight }) => weight));
  const lines = traits.filter(({ weight }) => weight === heaviest).map(({ source, digest }) => `${source} ${digest}\n`);
  return sha256Hex(utf8(`holdfast hardware 1\n${lines.sort().join('')}`));
}
