/**
 * A disk that loses its cache with the power: a whole update is recorded, write by write, and afterwards the disk is made
 * as it would be if the power had gone at some moment, with nothing kept that no flush had made durable, or with some of
 * it, in any order. Each such disk is booted.
 */
import { rm, writeFile } from 'node:fs/promises';
import { needProgram } from '../programs.ts';
import { makeOverlay } from './machine.ts';
import type { JudgedBoot, ScenarioLab } from './scenario.ts';
import { readWriteLog, replay, survivors } from './write-log.ts';

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
    // One in each of `count` equal parts between flushes, because what lies between two flushes is what can be lost.
    const place = ((number - 1 + lab.random()) / count) * log.flushes.length;
    const [from, to] = [log.flushes[Math.floor(place) - 1] ?? 0, log.flushes[Math.floor(place)] ?? log.writes.length];
    const given = from + Math.ceil((place % 1) * (to - from));
    // Every second time nothing is kept, else half.
    const kept = survivors(log, given, () => number % 2 === 0 && lab.random() < 0.5);
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
