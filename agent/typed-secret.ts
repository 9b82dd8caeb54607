/**
 * A secret that a person or another program hands to a command of the agent: typed unseen, or one line on standard input.
 * Never from the command line, which every process may read.
 */
import { EXIT, Fault } from '../platform/fault.ts';
import { readHiddenLine } from '../platform/hidden-line.ts';

const CAP_BYTES = 4096;

/** A line on standard input, without its end. Throws a Fault for more than a line may have, or no UTF-8. */
export async function secretFromStdin(): Promise<string> {
  const pieces: Buffer[] = [];
  let sizeBytes = 0;
  for await (const piece of process.stdin) {
    sizeBytes += piece.length;
    if (sizeBytes > CAP_BYTES) throw unreadable(`more than ${CAP_BYTES} bytes`);
    pieces.push(piece);
  }
  return textOf(Buffer.concat(pieces)).replace(/\r?\n$/, '');
}

/** Throws a Fault without a terminal, or when the person calls it off. */
export async function secretFromTerminal(label: string): Promise<string> {
  if (!process.stdin.isTTY) {
    throw new Fault({
      code: 'terminal-missing',
      what: 'there is no terminal to ask at',
      cure: 'Run it at a terminal, or give --stdin and the text on standard input.',
      exitStatus: EXIT.usage,
    });
  }
  const line = await readHiddenLine(label, CAP_BYTES);
  if (line !== undefined) return textOf(line);
  throw new Fault({
    code: 'cancelled',
    what: 'nothing was given',
    cure: 'Run it again when you have it; nothing was changed.',
    exitStatus: EXIT.input,
  });
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw unreadable('no UTF-8');
  } finally {
    bytes.fill(0);
  }
}

function unreadable(why: string): Fault {
  return new Fault({
    code: 'text-unreadable',
    what: `what was given is no line of text (${why})`,
    where: 'standard input',
    cure: 'Give one line.',
    exitStatus: EXIT.input,
  });
}
