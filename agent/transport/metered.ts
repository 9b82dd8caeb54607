/**
 * Does the link cost by the byte? NetworkManager knows or guesses it for the connection that carries the default route
 * (NMMetered: 1 yes, 3 guessed yes). Where it is not there, or does not know, the link counts as not metered.
 */
import { Fault } from '../../platform/fault.ts';
import { runProgram } from '../boards/board-program.ts';

const PROPERTY = [
  'org.freedesktop.NetworkManager',
  '/org/freedesktop/NetworkManager',
  'org.freedesktop.NetworkManager',
  'Metered',
];
const DEADLINE_MS = 5000;

/** `unknown`: nobody here can say. */
export async function askMetered(): Promise<'metered' | 'not-metered' | 'unknown'> {
  try {
    const { status, stdout } = await runProgram('busctl', ['get-property', ...PROPERTY], { deadlineMs: DEADLINE_MS });
    const value = status === 0 ? /^u ([1-4])\s*$/.exec(stdout)?.[1] : undefined;
    if (value === undefined) return 'unknown';
    return value === '1' || value === '3' ? 'metered' : 'not-metered';
  } catch (error) {
    if (error instanceof Fault) return 'unknown';
    throw error;
  }
}
