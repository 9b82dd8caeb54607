/**
 * What the three commands share: how a run ends. One clear message (what, where, cure), a stable exit status, JSON
 * for machines, and a stack trace only when asked with `--debug`.
 */
import { EXIT, errorText, Fault, systemErrorCode } from './fault.ts';

/**
 * Turns what the operating system says into words and a cure. Undefined for errors that are bugs. `place` is the path
 * or address for errors that carry none themselves (a read from an open file has no path).
 */
export function faultOfSystemError(error: unknown, place?: string): Fault | undefined {
  const where = error instanceof Error && 'path' in error && typeof error.path === 'string' ? error.path : place;
  const facts = { cause: error, ...(where === undefined ? {} : { where }) };
  switch (systemErrorCode(error)) {
    case 'ENOENT':
      return new Fault({
        ...facts,
        code: 'path-not-found',
        what: 'there is no such file or folder',
        cure: 'Check the path for a typing mistake.',
        exitStatus: EXIT.input,
      });
    case 'EACCES':
    case 'EPERM':
      return new Fault({
        ...facts,
        code: 'path-not-permitted',
        what: 'this user may not read or write it',
        cure: 'Run the command as the owner of the path, or correct its permissions.',
        exitStatus: EXIT.environment,
      });
    case 'EISDIR':
    case 'ENOTDIR':
      return new Fault({
        ...facts,
        code: 'path-kind-wrong',
        what: 'a file was expected and a folder found, or the other way round',
        cure: 'Give the path of the kind that the option asks for (see --help).',
        exitStatus: EXIT.input,
      });
    case 'ENOSPC':
      return new Fault({
        ...facts,
        code: 'disk-full',
        what: 'the disk is full',
        cure: 'Free some space and run the command again; what stood before is unharmed.',
        exitStatus: EXIT.environment,
      });
    case 'EADDRINUSE':
      return new Fault({
        ...facts,
        code: 'port-in-use',
        what: `another program listens there (${errorText(error)})`,
        cure: 'Stop that program, or choose another port.',
        exitStatus: EXIT.environment,
      });
    case 'ECONNREFUSED':
    case 'ECONNRESET':
    case 'ENOTFOUND':
    case 'ETIMEDOUT':
    case 'EHOSTUNREACH':
      return new Fault({
        ...facts,
        code: 'server-unreachable',
        what: `the server cannot be reached (${errorText(error)})`,
        cure: 'Check the address, and that the server is running.',
        exitStatus: EXIT.remote,
      });
    default:
      return undefined;
  }
}

export interface ReportOptions {
  readonly json: boolean;
  readonly debug: boolean;
}

/** Prints why a command failed (text to stderr, JSON to stdout) and returns its exit status. */
export function reportFailure(command: string, error: unknown, options: ReportOptions): number {
  const fault = error instanceof Fault ? error : faultOfSystemError(error);
  if (options.debug && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  if (fault === undefined) {
    const what = errorText(error);
    if (options.json) process.stdout.write(`${JSON.stringify({ ok: false, code: 'bug', what })}\n`);
    process.stderr.write(
      `${command}: something went wrong that should not: ${what}\n  cure: run it again with --debug and report what it prints.\n`,
    );
    return EXIT.bug;
  }
  if (options.json) process.stdout.write(`${JSON.stringify(fault)}\n`);
  const where = fault.where === undefined ? '' : `\n  where: ${fault.where}`;
  process.stderr.write(`${command}: ${fault.what} [${fault.code}]${where}\n  cure: ${fault.cure}\n`);
  return fault.exitStatus;
}
