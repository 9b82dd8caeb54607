/**
 * What must hold of a disk at any moment, as a reboot would find it, and of a device at rest.
 *
 * - Whatever the bootloader may boot is a whole, verified release: in the order, and on trial.
 * - The counters are there once they were, and never fall; they are raised only after the slot is confirmed.
 * - No slot below the floor is in the order.
 * - The records tell the truth: a slot holds what `slots` says, and the blocks that the journal calls filled.
 * - At rest nothing is owed, and the journal, slots and counters that a power cut leaves say what runs.
 */

import type { EngineRest } from '../../../agent/core/ports.ts';
import { BLOCK_BYTES } from '../../../trust/blocks.ts';
import { FileContent } from '../file-content.ts';
import { DEVICE, STATE } from '../simulated-device.ts';
import type { SimulatedDisk } from '../simulated-disk.ts';
import { asDurable, asFound, digestOf, digestOfBeginning, imagePath, recordIn, releaseIn } from './durable-records.ts';
import type { End, World } from './world.ts';

export interface Counted {
  readonly installed: number;
  readonly floor: number;
}

export const NOTHING_COUNTED: Counted = { installed: 0, floor: 0 };
const FACTORY_SEQUENCE = 1;

/** Something that may never be was found. */
export class InvariantBroken extends Error {
  override readonly name = 'InvariantBroken';
}

function demand(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new InvariantBroken(otherwise);
}

/** Throws InvariantBroken; answers the counters. */
export async function checkDisk(disk: SimulatedDisk, world: World): Promise<Counted> {
  const flags = await world.kind.flags(disk, DEVICE);
  demand(flags !== undefined, 'the boot flags are lost');
  const bootable = new Set([...flags.order, ...(flags.trial === null ? [] : [flags.trial.slot])]);
  for (const slot of bootable) {
    const holds = releaseIn(disk, slot, world.releases);
    demand(holds !== undefined, `slot ${slot} is bootable and holds no verified release`);
  }
  checkRecords(disk, world);
  const counters = recordIn(asFound(disk), 'counters');
  if (counters === undefined) return NOTHING_COUNTED;
  const { installedSequence, floorSequence } = counters;
  const counted = { installed: installedSequence, floor: floorSequence };
  if (world.belowFloor) return counted;
  for (const slot of flags.order) {
    const sequence = releaseIn(disk, slot, world.releases) ?? 0;
    demand(
      sequence >= floorSequence,
      `slot ${slot} is in the order with ${sequence}, below the floor ${floorSequence}`,
    );
  }
  const first = flags.order[0];
  const confirmed = first === undefined ? 0 : (releaseIn(disk, first, world.releases) ?? 0);
  demand(
    installedSequence <= Math.max(FACTORY_SEQUENCE, confirmed),
    `the counter stands at ${installedSequence} before that release is confirmed: slot ${first} boots, with ${confirmed}`,
  );
  return counted;
}

function checkRecords(disk: SimulatedDisk, world: World): void {
  const slots = recordIn(asFound(disk), 'slots');
  for (const slot of ['a', 'b'] as const) {
    const said = slots?.[slot]?.sequence;
    if (said === undefined) continue;
    const holds = releaseIn(disk, slot, world.releases);
    demand(
      holds === said,
      `the record says that slot ${slot} holds ${said}, and it holds ${holds ?? 'no whole release'}`,
    );
  }
  const journal = recordIn(asFound(disk), 'journal');
  const target = journal?.target;
  if (journal === undefined || target === null || target === undefined) return;
  for (const { component, sha256: digest, blocks } of journal.filled) {
    const image = imageWith(world, component, digest);
    const length = Math.min(blocks * BLOCK_BYTES, image?.length ?? 0);
    const found = disk.contentOf(imagePath(target, component)) ?? FileContent.EMPTY;
    const right = image !== undefined && digestOfBeginning(found, length) === digestOfBeginning(image, length);
    demand(right, `the journal calls ${blocks} blocks of ${component} filled, and slot ${target} does not hold them`);
  }
}

const images = new WeakMap<Uint8Array, FileContent>();

function imageWith(world: World, component: string, digest: string): FileContent | undefined {
  for (const release of world.releases.values()) {
    const bytes = release[component];
    if (bytes === undefined) continue;
    const image = images.get(bytes) ?? FileContent.EMPTY.written(bytes, 0);
    images.set(bytes, image);
    if (digestOf(image) === digest) return image;
  }
  return undefined;
}

export function checkNotFallen(before: Counted, after: Counted): void {
  demand(
    after.installed >= before.installed && after.floor >= before.floor,
    `the counters fell from ${JSON.stringify(before)} to ${JSON.stringify(after)}`,
  );
}

/** A device at rest: one of the ends that its world allows, all of it durable. */
export async function checkEnd(disk: SimulatedDisk, world: World, rest: EngineRest, lastBootId: string): Promise<void> {
  const durable = disk.cut('drop');
  const { installed, floor } = await checkDisk(durable, world);
  const flags = await world.kind.flags(durable, DEVICE);
  const look = asDurable(disk);
  const journal = recordIn(look, 'journal');
  const quarantined = (recordIn(look, 'quarantine')?.entries ?? []).map(({ sequence }) => sequence);
  const end: End = {
    rest: rest.rest === 'held' ? `held: ${rest.why}` : 'idle',
    order: flags?.order ?? [],
    installed,
    floor,
    quarantined,
  };
  const allowed = world.ends.map((one) => JSON.stringify(one));
  demand(allowed.includes(JSON.stringify(end)), `ended as ${JSON.stringify(end)}, allowed: ${allowed.join(' or ')}`);
  demand(rest.rest === 'idle' || rest.rest === 'held', `came to rest as ${rest.rest}`);
  for (const name of ['journal', 'counters', 'slots', 'quarantine'] as const) {
    const mayBeAbsent = name === 'quarantine' && look(`${STATE}/${name}.0`) === undefined;
    demand(mayBeAbsent || recordIn(look, name) !== undefined, `at rest, and no copy of ${name} checks out`);
  }
  demand(flags?.trial === null, 'at rest with a trial pending');
  demand(journal?.state === rest.rest, `at rest as ${rest.rest}, and the durable journal says ${journal?.state}`);
  demand(journal.owed.length === 0, `at rest, and the durable journal owes ${journal.owed.join(', ')}`);
  demand(rest.rest === 'held' || journal.action === null, 'idle, and the durable journal names an action');
  demand(journal.reportedBootId === lastBootId, 'the boot was reported, and the durable journal does not say so');
  const ended = world.actions.at(-1)?.actionId;
  const said = journal.settled?.actionId;
  if (ended === undefined) return;
  demand(rest.rest === 'held' || said === ended, `action ${ended} is over, and the durable journal settled ${said}`);
}
