/**
 * The one error a person meets. A Fault says what is wrong, where, and how to cure it, and carries a stable code
 * and exit status for machines. Anything else that is thrown is a bug or a dying disk.
 */

/** Exit statuses of all three commands. Stable: scripts depend on them. */
export const EXIT = {
  ok: 0,
  /** A bug, or a failing disk. */
  bug: 1,
  /** The command line itself is wrong. */
  usage: 2,
  /** A file, key, passphrase or setting that was given is wrong. */
  input: 3,
  /** Something was refused on purpose: a signature, a permission, a policy. */
  refused: 4,
  /** This machine lacks something: a port is taken, a program is missing, the disk is full. */
  environment: 5,
  /** Another machine did not answer, or answered with an error. */
  remote: 6,
  /** State on disk is damaged. */
  corrupt: 7,
} as const;

export type ExitStatus = (typeof EXIT)[keyof typeof EXIT];

export interface FaultFacts {
  /** Stable, kebab-case: `passphrase-wrong`, `port-in-use`. */
  readonly code: string;
  /** One sentence: what is wrong. No trailing full stop. */
  readonly what: string;
  /** The file, address, field or command concerned. */
  readonly where?: string;
  /** One sentence a reader can act on. */
  readonly cure: string;
  readonly exitStatus: ExitStatus;
  readonly cause?: unknown;
}

export class Fault extends Error {
  override readonly name = 'Fault';
  readonly code: string;
  readonly what: string;
  readonly where: string | undefined;
  readonly cure: string;
  readonly exitStatus: ExitStatus;

  constructor(facts: FaultFacts) {
    super(facts.where === undefined ? facts.what : `${facts.what}: ${facts.where}`, { cause: facts.cause });
    this.code = facts.code;
    this.what = facts.what;
    this.where = facts.where;
    this.cure = facts.cure;
    this.exitStatus = facts.exitStatus;
  }

  /** What `--json` prints for a failed command. */
  toJSON(): { ok: false; code: string; what: string; where?: string; cure: string } {
    return {
      ok: false,
      code: this.code,
      what: this.what,
      ...(this.where === undefined ? {} : { where: this.where }),
      cure: this.cure,
    };
  }
}

/** The `code` of a Node system error (`ENOENT`, `EADDRINUSE`), or undefined for anything else. */
export function systemErrorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** The text of anything thrown, on one line. */
export function errorText(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replaceAll(/\s+/g, ' ').trim();
}
