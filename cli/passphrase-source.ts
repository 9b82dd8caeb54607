/**
 * Where passphrases come from: a file (`--passphrase-file`, or HOLDFAST_PASSPHRASE_FILE), else a terminal without echo.
 * Never from the command line: arguments stand in the shell's history and in every process listing.
 */

import { PASSPHRASE_CAP_BYTES, Passphrase, type PassphraseSource, readPassphraseFile } from '../keys/passphrase.ts';
import { EXIT, Fault } from '../platform/fault.ts';

const ENTER = new Set([0x0a, 0x0d]);
const BACKSPACE = new Set([0x08, 0x7f]);
const CONTROL_C = 0x03;
const CONTROL_D = 0x04;

function cancelled(): Fault {
  return new Fault({
    code: 'cancelled',
    what: 'no passphrase was given',
    cure: 'Run the command again when you have it; nothing was changed.',
    exitStatus: EXIT.input,
  });
}

/** Reads one line from the terminal into a buffer that is wiped by its owner; nothing of it is shown, nor made a string. */
function promptTerminal(label: string): Promise<Passphrase> {
  const { stdin, stderr } = process;
  const buffer = new Uint8Array(PASSPHRASE_CAP_BYTES);
  let length = 0;
  stderr.write(label);
  stdin.setRawMode(true);
  stdin.resume();
  return new Promise((resolve, reject) => {
    const end = (settle: () => void): void => {
      stdin.off('data', onData);
      stdin.setRawMode(false);
      stdin.pause();
      stderr.write('\n');
      settle();
    };
    const take = (byte: number): (() => void) | undefined => {
      if (byte === CONTROL_C || byte === CONTROL_D) {
        buffer.fill(0);
        return () => reject(cancelled());
      }
      if (ENTER.has(byte)) return () => resolve(new Passphrase(buffer.subarray(0, length)));
      if (BACKSPACE.has(byte)) length = Math.max(0, length - 1);
      else if (length < buffer.length) buffer[length++] = byte;
      return undefined;
    };
    const onData = (piece: Buffer): void => {
      let settle: (() => void) | undefined;
      for (const byte of piece) settle ??= take(byte);
      piece.fill(0);
      if (settle !== undefined) end(settle);
    };
    stdin.on('data', onData);
  });
}

function demandTerminal(): void {
  if (process.stdin.isTTY) return;
  throw new Fault({
    code: 'passphrase-missing',
    what: 'a passphrase is needed, and there is no terminal to ask for it',
    cure: 'Give --passphrase-file FILE, or set HOLDFAST_PASSPHRASE_FILE.',
    exitStatus: EXIT.usage,
  });
}

async function promptTwice(holder: string): Promise<Passphrase> {
  for (;;) {
    const first = await promptTerminal(`New passphrase for ${holder}: `);
    const second = await promptTerminal('The same again: ');
    const same = Buffer.compare(first.bytes(), second.bytes()) === 0;
    second.wipe();
    if (same && first.bytes().length > 0) return first;
    first.wipe();
    process.stderr.write('They differ, or are empty. Once more.\n');
  }
}

/** `fresh`: the passphrase is new, so a terminal asks for it twice, and once for each holder. */
export function passphraseSource(file: string | undefined, fresh: boolean): PassphraseSource {
  const environment = process.env.HOLDFAST_PASSPHRASE_FILE;
  const path = file ?? (environment === '' ? undefined : environment);
  if (path !== undefined) return () => readPassphraseFile(path);
  // A person's two keys have one passphrase: asked for once, kept until the next holder's turn.
  let kept: { holder: string; bytes: Uint8Array } | undefined;
  return async (holder) => {
    demandTerminal();
    if (!fresh) return promptTerminal(`Passphrase for ${holder}: `);
    if (kept?.holder !== holder) {
      kept?.bytes.fill(0);
      const passphrase = await promptTwice(holder);
      kept = { holder, bytes: Uint8Array.from(passphrase.bytes()) };
      passphrase.wipe();
    }
    return new Passphrase(Uint8Array.from(kept.bytes));
  };
}
