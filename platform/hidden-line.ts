/**
 * One line that a person types unseen: a passphrase or a password. Bytes, so that whoever asked can wipe them; nothing of
 * it is shown, nor made a string here.
 */
const ENTER = new Set([0x0a, 0x0d]);
const BACKSPACE = new Set([0x08, 0x7f]);
const CONTROL_C = 0x03;
const CONTROL_D = 0x04;

/** What is typed beyond `capBytes` is not taken. Undefined when it was called off. Standard input must be a terminal. */
export function readHiddenLine(label: string, capBytes: number): Promise<Uint8Array | undefined> {
  const { stdin, stderr } = process;
  const buffer = new Uint8Array(capBytes);
  let length = 0;
  // First, or what is typed the moment that the question stands there would be shown.
  stdin.setRawMode(true);
  stderr.write(label);
  stdin.resume();
  return new Promise((resolve) => {
    const end = (line: Uint8Array | undefined): void => {
      stdin.off('data', onData);
      stdin.setRawMode(false);
      stdin.pause();
      stderr.write('\n');
      resolve(line);
    };
    /** True once the line has ended. */
    const take = (byte: number): boolean => {
      if (byte === CONTROL_C || byte === CONTROL_D) {
        buffer.fill(0);
        end(undefined);
        return true;
      }
      if (ENTER.has(byte)) {
        end(buffer.subarray(0, length));
        return true;
      }
      if (BACKSPACE.has(byte)) length = Math.max(0, length - 1);
      else if (length < buffer.length) buffer[length++] = byte;
      return false;
    };
    const onData = (piece: Buffer): void => {
      const ended = piece.findIndex(take);
      // What came in one piece with the end of the line is the beginning of the next.
      const rest = ended < 0 ? undefined : Buffer.from(piece.subarray(ended + 1));
      piece.fill(0);
      if (rest !== undefined && rest.length > 0) stdin.unshift(rest);
    };
    stdin.on('data', onData);
  });
}
