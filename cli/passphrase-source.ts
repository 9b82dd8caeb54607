/**
 * Where passphrases come from: a file (`--passphrase-file`, or HOLDFAST_PASSPHRASE_FILE), else a terminal without echo.
 * Never from the command line: arguments stand in the shell's history and in every process listing.
 */

import { PASSPHRASE_CAP_BYTES, Passphrase, type PassphraseSource, readPassphraseFile } from '../keys/passphrase.ts';
import { EXIT, Fault } from '../platform/fault.ts';
import { readHiddenLine } from '../platform/hidden-line.ts';

function cancelled(): Fault {
  return new Fault({
    code: 'cancelled',
    what: 'no passphrase was given',
    cure: 'Run the command again when you have it; nothing was changed.',
    exitStatus: EXIT.input,
  });
}

async function promptTerminal(label: string): Promise<Passphrase> {
  const line = await readHiddenLine(label, PASSPHRASE_CAP_BYTES);
  if (line === undefined) throw cancelled();
  return new Passphrase(line);
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
