/**
 * Which server this person talks to, and with which token: $HOLDFAST_HOME/profile.json (default ~/.config/holdfast),
 * 0600, written durably. The token is a secret: it is never printed, and never taken from a command line.
 */
import { homedir } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { faultOfSystemError } from '../platform/command-line.ts';
import { nodeDisk } from '../platform/disk.ts';
import { writeDurably } from '../platform/durable-file.ts';
import { EXIT, Fault } from '../platform/fault.ts';
import { readInputFile } from '../platform/input-file.ts';

const PROFILE_CAP_BYTES = 256 * 1024;

const Profile = v.strictObject({
  format: v.literal('holdfast-profile-1'),
  serverUrl: v.pipe(v.string(), v.url(), v.startsWith('https://')),
  /** PEM: the authority that the server's certificate must come from. */
  ca: v.pipe(v.string(), v.maxLength(64 * 1024)),
  token: v.pipe(v.string(), v.minLength(1), v.maxLength(128)),
  name: v.pipe(v.string(), v.maxLength(64)),
  role: v.pipe(v.string(), v.maxLength(32)),
  /** Null in a profile whose login broke off after the token was exchanged: the next command completes it. */
  met: v.nullable(
    v.strictObject({
      environment: v.picklist(['production', 'lab', 'rehearsal']),
      /** The server's first root, as met at login; `release build --server` starts its chain of trust there. */
      root: v.pipe(v.string(), v.maxLength(64 * 1024)),
    }),
  ),
});
export type Profile = v.InferOutput<typeof Profile>;
/** A profile of a server that was met. */
export type MetProfile = Profile & { readonly met: NonNullable<Profile['met']> };

export function profilePath(): string {
  const home = process.env.HOLDFAST_HOME;
  return join(home === undefined || home === '' ? join(homedir(), '.config', 'holdfast') : home, 'profile.json');
}

/** Faults: `not-logged-in`, `profile-malformed`. */
export async function readProfile(): Promise<Profile> {
  const path = profilePath();
  const loginCure = 'Log in: holdfast login --server URL --ca FILE --token-file FILE.';
  let bytes: Uint8Array;
  try {
    bytes = await readInputFile(path, PROFILE_CAP_BYTES, 'a profile');
  } catch (error) {
    if (!(error instanceof Fault) || error.code !== 'path-not-found') throw error;
    throw new Fault({
      code: 'not-logged-in',
      what: 'this user has not logged in to a server',
      where: path,
      cure: loginCure,
      exitStatus: EXIT.input,
    });
  }
  try {
    return v.parse(Profile, JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (error) {
    throw new Fault({
      code: 'profile-malformed',
      what: 'the profile is damaged',
      where: path,
      cure: `Remove the file. ${loginCure}`,
      exitStatus: EXIT.corrupt,
      cause: error,
    });
  }
}

/** Replaces the profile. The folder is made 0700. */
export async function writeProfile(profile: Profile): Promise<string> {
  const path = profilePath();
  try {
    await nodeDisk.makeDirectory(join(path, '..'), 0o700);
    await writeDurably(nodeDisk, path, Buffer.from(`${JSON.stringify(profile, null, 2)}\n`, 'utf8'), 0o600);
  } catch (error) {
    throw faultOfSystemError(error, path) ?? error;
  }
  return path;
}
