/**
 * Reading what a person named on the command line: every way in which that can go wrong ends in a Fault that carries
 * the path. Caps are checked before anything is allocated.
 */
import { faultOfSystemError } from './command-line.ts';
import { FileTooLarge, nodeDisk } from './disk.ts';
import { EXIT, Fault } from './fault.ts';

/**
 * The whole file. Faults: `path-not-found`, `path-not-permitted`, `path-kind-wrong`, `file-too-large`.
 * `kind` says what was expected, in words: "a key file".
 */
export async function readInputFile(path: string, capBytes: number, kind: string): Promise<Uint8Array> {
  let content: Uint8Array | undefined;
  try {
    content = await nodeDisk.readFile(path, capBytes);
  } catch (error) {
    if (error instanceof FileTooLarge) {
      throw new Fault({
        code: 'file-too-large',
        what: `the file has ${error.sizeBytes} bytes, and ${kind} has at most ${error.capBytes}`,
        where: path,
        cure: `Give the path of ${kind}.`,
        exitStatus: EXIT.input,
        cause: error,
      });
    }
    throw faultOfSystemError(error, path) ?? error;
  }
  if (content !== undefined) return content;
  throw new Fault({
    code: 'path-not-found',
    what: `there is no such file (${kind} was expected)`,
    where: path,
    cure: 'Check the path for a typing mistake.',
    exitStatus: EXIT.input,
  });
}

/** The same Fault with `path` as its place, for readers that were handed bytes and know no path. */
export async function namingPath<T>(path: string, read: () => T | Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof Fault && error.where === undefined) {
      const { code, what, cure, exitStatus } = error;
      throw new Fault({ code, what, cure, exitStatus, where: path, cause: error });
    }
    throw error;
  }
}
