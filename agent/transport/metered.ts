/**
 * Does the link cost by the byte? NetworkManager knows or guesses it for the connection that carries the default route
 * (NMMetered: 1 yes, 3 guessed yes). Where it is not there, or does not know, the link counts as not metered.
 */
import { askProgram } from '../boards/board-program.ts';

const NAME = 'org.freedesktop.NetworkManager';
const WORDS = ['get-property', NAME, '/org/freedesktop/NetworkManager', NAME, 'Metered'];
const DEADLINE_MS = 5000;

/** Undefined: nobody here can say. */
export async function askMetered(): Promise<boolean | undefined> {
  const end = await askProgram('busctl', WORDS, { deadlineMs: DEADLINE_MS });
  const value = /^u ([1-4])\s*$/.exec(end?.stdout ?? '')?.[1];
  return value === undefined ? undefined : value === '1' || value === '3';
}
