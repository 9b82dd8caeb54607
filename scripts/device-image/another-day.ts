/**
 * For programs started from here on it is another day, in another time zone, of a user with other habits: what makes the
 * same bytes then as before depends on none of it. libfaketime is laid under each of them; this process keeps its clock.
 */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { EXIT, Fault } from '../../platform/fault.ts';

const LIBRARIES = '/usr/lib';
const CHANGED: Readonly<Record<string, string>> = {
  FAKETIME: '+400d',
  // Waiting is not what is tried.
  FAKETIME_DONT_FAKE_MONOTONIC: '1',
  // A date that a program gave to a file is read as it was given.
  NO_FAKE_STAT: '1',
  TZ: 'Pacific/Chatham',
  LC_ALL: 'C.UTF-8',
};
const UMASK = 0o077;

/** Calls `work` with that environment, and puts everything back. */
export async function onAnotherDay<T>(work: () => Promise<T>): Promise<T> {
  const changed = { ...CHANGED, LD_PRELOAD: await fakeTimeLibrary() };
  const before = Object.keys(changed).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, changed);
  const umask = process.umask(UMASK);
  try {
    return await work();
  } finally {
    process.umask(umask);
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

async function fakeTimeLibrary(): Promise<string> {
  const folders = (await readdir(LIBRARIES)).map((name) => join(LIBRARIES, name, 'faketime/libfaketime.so.1'));
  const found = folders.find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new Fault({
    code: 'program-missing',
    what: 'libfaketime is not here, which gives programs another date',
    where: `${LIBRARIES}/*/faketime/libfaketime.so.1`,
    cure: 'apt-get install faketime',
    exitStatus: EXIT.environment,
  });
}
