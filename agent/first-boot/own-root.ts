/**
 * Where the files of an emulated device are: the folder that its boot loop filled, and never the machine that it is
 * emulated on, which has files of the same names, and may have been reached by the same words.
 *
 * Invariants: the root is `run/rootfs` below the device's folder, and no link; what the first boot keeps, wipes or takes
 * away lies below the device's folder; no path leads out of the root by a link of the image's (an absolute one would);
 * programs of the image are the folder's. Where any of this does not hold, a Fault, before anything is changed.
 */
import { lstat, realpath } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { EXIT, Fault, systemErrorCode } from '../../platform/fault.ts';
import { type RunProgram, runProgram } from '../boards/board-program.ts';
import type { FirstBootConfig } from './first-boot-config.ts';

export interface OwnRoot {
  readonly root: string;
  readonly demandInside: (path: string) => Promise<void>;
  readonly run: RunProgram;
}

type OwnPlaces = Pick<FirstBootConfig, 'applicationData' | 'resetRequest'> & { readonly dataDirectory: string };

/** `deviceDirectory`: the board's, from agent.json alone; nothing in the environment moves it. */
export async function openOwnRoot(deviceDirectory: string, places: OwnPlaces): Promise<OwnRoot> {
  const device = await leadsTo(deviceDirectory);
  const root = join(device, 'run/rootfs');
  if (device === '/' || (await leadsTo(root)) !== root || !(await isFolder(root))) throw noRoot(root);
  const { dataDirectory, applicationData, resetRequest } = places;
  for (const place of [dataDirectory, ...applicationData, ...(resetRequest === null ? [] : [resetRequest])]) {
    if (!isBelow(await leadsTo(place), device)) throw leadsOut(place, device);
  }
  return {
    root,
    async demandInside(path) {
      if (!isBelow(await leadsTo(path), root)) throw leadsOut(path, root);
    },
    run: (path, words, given) => runProgram(isAbsolute(path) ? join(root, path) : path, words, given),
  };
}

/** With every link followed; of what is not there, the folder above decides. */
async function leadsTo(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
    // A link to what is not there yet leads there all the same.
    if (await isThere(path)) throw leadsOut(path, dirname(path));
    return join(await leadsTo(dirname(path)), basename(path));
  }
}

async function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

async function isFolder(path: string): Promise<boolean> {
  return lstat(path).then(
    (facts) => facts.isDirectory(),
    () => false,
  );
}

function isBelow(path: string, folder: string): boolean {
  return path.startsWith(`${folder}/`);
}

function noRoot(root: string): Fault {
  return new Fault({
    code: 'emulated-root-missing',
    what: 'the emulated device has no root file system of its own, and the one of this machine is not for it',
    where: root,
    cure: 'Start the device through its boot loop, which fills this folder at every boot.',
    exitStatus: EXIT.environment,
  });
}

function leadsOut(path: string, folder: string): Fault {
  return new Fault({
    code: 'leads-out-of-device',
    what: `a path of the emulated device leads out of it (out of ${folder})`,
    where: path,
    cure: "Name a place in the device's folder; in the image, make the link relative.",
    exitStatus: EXIT.input,
  });
}
