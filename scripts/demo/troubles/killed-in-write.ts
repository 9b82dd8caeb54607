/** An agent killed with its slot half written: it goes on where the journal says, and confirms the release. */

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { otherSlot } from '../../../platform/emulated-boot-env.ts';
import { sha256OfFile } from '../../file-digest.ts';
import type { DemoRun } from '../demo-run.ts';
import { bootedFacts } from '../fleet-words.ts';
import { devicesOn } from '../steps/releases.ts';
import { sayFact } from '../terminal.ts';
import { killAgent, TROUBLE_LIMIT_MS } from './trouble.ts';

/** The first of the devices whose inactive root file system is being written; caught after a few writes. */
async function deviceWriting(
  run: DemoRun,
  deviceIds: readonly string[],
): Promise<{ deviceId: string; file: string } | undefined> {
  const slots = new Map<string, { file: string; times: Set<number> }>();
  for (const deviceId of deviceIds) {
    const slot = (await bootedFacts(run.devicePath(deviceId)))?.slot ?? 'a';
    const file = join(run.devicePath(deviceId), 'board/slots', otherSlot(slot), 'rootfs.img');
    slots.set(deviceId, { file, times: new Set([await modifiedMs(file)]) });
  }
  return run.until(TROUBLE_LIMIT_MS, 3, async () => {
    for (const [deviceId, { file, times }] of slots) {
      times.add(await modifiedMs(file));
      if (times.size > 4) return { deviceId, file };
    }
    return undefined;
  });
}

const modifiedMs = async (file: string): Promise<number> => (await stat(file).catch(() => undefined))?.mtimeMs ?? 0;

export async function killedInWrite(run: DemoRun, version: string): Promise<string | undefined> {
  const found = await deviceWriting(run, run.deviceIds);
  if (found === undefined) return 'no device was seen writing';
  const { deviceId, file } = found;
  if (!(await killAgent(run, deviceId))) return `the agent of ${deviceId} was gone before it could be killed`;
  const [written, wanted] = [await sha256OfFile(file), await sha256OfFile(run.path('images', version, 'rootfs.img'))];
  if (written === wanted) return `${deviceId} had written everything already`;
  sayFact(`${deviceId}: agent killed with its slot half written`);
  const there = await run.until(TROUBLE_LIMIT_MS, 500, async () =>
    (await devicesOn(run, [deviceId], version)).length === 1 ? true : undefined,
  );
  return there === true ? undefined : `${deviceId} did not get to ${version}`;
}
