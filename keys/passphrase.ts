/**
 * A passphrase, from the moment it is read until it is wiped. It is bytes all the way: a JavaScript string cannot be
 * wiped, and would stay in memory, in copies, for as long as the process lives. Never on a command line, never printed.
 */

import { EXIT, Fault } from '../platform/fault.ts';
import { readInputFile } from '../platform/input-file.ts';

export const PASSPHRASE_CAP_BYTES = 1024;
/** Shorter ones are refused when a key is made; scrypt buys time against guessing, not a miracle. */
export const PASSPHRASE_MIN_BYTES = 12;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

export class Passphrase {
  readonly #buffer: Uint8Array;
  readonly #length: number;

  /** Takes `buffer` over: nobody else may keep it. Only its first line counts. */
  constructor(buffer: Uint8Array) {
    this.#buffer = buffer;
    const end = buffer.indexOf(LINE_FEED);
    let length = end === -1 ? buffer.length : end;
    if (length > 0 && buffer[length - 1] === CARRIAGE_RETURN) length -= 1;
    this.#length = length;
  }

  /** A view, not a copy; all zero after `wipe`. */
  bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  wipe(): void {
    this.#buffer.fill(0);
  }

  /** For anything that renders objects by accident. */
  toJSON(): string {
    return '(passphrase)';
  }
}

/** Where passphrases come from: `holder` is the folder of a ceremony (`person-1`, `author-acme-cam`) or a key's path. */
export type PassphraseSource = (holder: string) => Promise<Passphrase>;

/** The first line of a file. Fault `passphrase-empty` when there is nothing in it. */
export async function readPassphraseFile(path: string): Promise<Passphrase> {
  const passphrase = new Passphrase(await readInputFile(path, PASSPHRASE_CAP_BYTES, 'a passphrase file'));
  if (passphrase.bytes().length > 0) return passphrase;
  throw new Fault({
    code: 'passphrase-empty',
    what: 'the first line of the passphrase file is empty',
    where: path,
    cure: 'Write the passphrase on the first line of the file.',
    exitStatus: EXIT.input,
  });
}

/** Fault `passphrase-too-short`: asked only where a key is made, so that old keys stay usable. */
export function demandStrength(passphrase: Passphrase): void {
  if (passphrase.bytes().length >= PASSPHRASE_MIN_BYTES) return;
  throw new Fault({
    code: 'passphrase-too-short',
    what: `the passphrase has fewer than ${PASSPHRASE_MIN_BYTES} characters`,
    cure: 'Choose a longer one, for instance six random words; write it down and keep it apart from the keys.',
    exitStatus: EXIT.input,
  });
}
