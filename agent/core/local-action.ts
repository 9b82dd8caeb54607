/**
 * An update that a person brought, on a stick: an action like any other, but one that no server knows of. So no server
 * calls it off, and it goes on only where its source is: a power cut that leaves the stick behind ends it.
 */
import type { Action } from '../../protocol/device-api.ts';

const LOCAL_PREFIX = 'local-';

/** `unique` tells this attempt from every other (8 random bytes, hex). */
export function localAction(
  release: { readonly releasePath: string; readonly sequence: number; readonly version: string },
  unique: string,
): Action {
  const { releasePath, sequence, version } = release;
  const actionId = `${LOCAL_PREFIX}${unique}`;
  return { actionId, rolloutId: actionId, releasePath, sequence, version, deadlineUnixMs: 0 };
}

export function isLocal(action: Pick<Action, 'actionId'> | null): boolean {
  return action?.actionId.startsWith(LOCAL_PREFIX) ?? false;
}
