/**
 * A disk that loses its cache with the power: a whole update is recorded, write by write, and afterwards the disk is made
 * as it would be if the power had gone at some moment, with nothing kept that no flush had made durable, or with some of
 * it, in any order. Each such disk is booted.
 */
import { rm, writeFile } from 'node:fs/promises';
import { needProgram } from '../programs.ts';
import { makeOverlay } from './machine.ts';
import type { JudgedBoot, ScenarioLab } from './scenario.ts';
import { readWriteLog, replay, survivors, type WriteLog } from './write-log.ts';

export interface LossOptions {
  readonly count: number;
  readonly seed: number;
}

export interface Loss extends JudgedBoot {
  readonly number: number;
  /** Of `writes`, how many had been given to the disk. */
  readonly given: number;
  readonly writes: number;
  /** How many of those that were given are lost. */
  readonly lost: number;
}

export async function loseCacheOften(
  lab: ScenarioLab,
  { count, seed }: LossOptions,
  onLoss: (loss: Loss) => void,
): Promise<readonly Loss[]> {
  const { world } = lab;
  const guest = await lab.enrolled();
  const release = await lab.publish('');
  await guest.cutPower();
  const [before, path] = [world.path('devices/before.raw'), world.path('devices/writes.log')];
  await needProgram('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', guest.disk, before]);
  await writeFile(path, '');
  await world.rollOut(release, [guest.id]);
  await guest.powerOn({ writeLog: path });
  await guest.settlesOn(release.version);
  await guest.shutDown();
  const log = await readWriteLog(path);
  lab.check(log.flushes.length > 0, `an update is ${log.writes.length} writes and ${log.flushes.length} flushes`);
  const losses: Loss[] = [];
  for (let number = 1; number <= count; number += 1) {
    const given = placeOf(log, (number - 1 + lab.random()) / count, number % 2 === 0);
    // Every second pair keeps nothing of what is lost, the others half.
    const kept = survivors(log, given, () => number % 4 >= 2 && lab.random() < 0.5);
    const raw = world.path(`devices/lost-${number}.raw`);
    await replay(log, before, kept, raw);
    const disk = `${raw}.qcow2`;
    await makeOverlay(disk, raw, 'raw');
    await guest.powerOn({ disk });
    const boot = await lab.bootsSigned(guest, disk);
    await guest.cutPower();
    for (const file of [raw, disk]) await rm(file);
    const loss = { number, given, writes: log.writes.length, lost: given - kept.length, ...boot };
    losses.push(loss);
    onLoss(loss);
    lab.checkSigned(loss, `loss ${number} of seed ${seed}, after ${given} writes`);
  }
  lab.checkAllSigned(losses, 'lost caches');
  return losses;
}

/**
 * After how many writes the cache is lost, from a share of the whole: of the flushes, because what lies between two of
 * them is what can be lost; or of the writes, because the largest part of them may lie between two.
 */
function placeOf({ writes, flushes }: WriteLog, share: number, byWrites: boolean): number {
  if (byWrites) return Math.ceil(share * writes.length);
  const place = share * flushes.length;
  const [from, to] = [flushes[Math.floor(place) - 1] ?? 0, flushes[Math.floor(place)] ?? writes.length];
  return from + Math.ceil((place % 1) * (to - from));
}
