/** The guard of scripts that mount over /etc and the like. */
import { readlinkSync } from 'node:fs';

/** Throws unless this process has another mount namespace than whoever started it (`/proc/self/ns/mnt` there). */
export function demandOwnNamespace(callersNamespace: string | undefined): void {
  if (callersNamespace === undefined || readlinkSync('/proc/self/ns/mnt') === callersNamespace) {
    throw new Error('this is the machine itself: start it with unshare --mount');
  }
}
