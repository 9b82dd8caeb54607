/**
 * How commands are declared and how they end: every one takes --json and --debug, has an example in its help, returns
 * a document (printed with --json) and an exit status, and fails through platform/command-line.ts.
 */
import type { Command, CommanderError } from 'commander';
import { reportFailure } from '../platform/command-line.ts';
import { EXIT, type ExitStatus, Fault } from '../platform/fault.ts';
import { createOutput, type Output } from './output.ts';

export interface Outcome {
  /** What `--json` prints, with `ok` before it. */
  readonly document: Readonly<Record<string, unknown>>;
  /** Default 0. A status other than 0 makes `ok` false. */
  readonly exitStatus?: ExitStatus;
}

export interface CommonOptions {
  readonly json?: boolean;
  readonly debug?: boolean;
}

/** Receives the exit status of the command that ran. */
export type Finish = (status: number) => void;

export interface CommandText {
  /** With arguments: `show DEVICE`. */
  readonly usage: string;
  /** One line for lists of commands. */
  readonly summary: string;
  /** A paragraph or two for its own help. */
  readonly details?: string;
  /** Whole command lines. */
  readonly examples: readonly string[];
}

/** Adds a command below `parent`. */
export function addCommand(parent: Command, text: CommandText): Command {
  const examples = text.examples.map((example) => `  ${example}`).join('\n');
  return parent
    .command(text.usage)
    .summary(text.summary)
    .description(text.details === undefined ? text.summary : `${text.summary}\n\n${text.details}`)
    .option('--json', 'print one JSON document on stdout, and nothing else')
    .option('--debug', 'print stack traces of failures')
    .allowExcessArguments(false)
    .addHelpText('after', `\nExample${text.examples.length > 1 ? 's' : ''}:\n${examples}`);
}

/** Adds a group of commands: `keys`, `release`. */
export function addGroup(parent: Command, name: string, summary: string): Command {
  return parent.command(name).summary(summary).description(summary);
}

function nameOf(command: Command): string {
  const above = command.parent;
  return above === null ? command.name() : `${nameOf(above)} ${command.name()}`;
}

/** What the command does. `args` are its arguments, in order; `options` its options as commander read them. */
export function onRun<O extends object>(
  command: Command,
  finish: Finish,
  run: (out: Output, options: O & CommonOptions, ...args: string[]) => Promise<Outcome>,
): void {
  command.action(async (...received: unknown[]) => {
    const args = received.slice(0, -2) as string[];
    const options = command.opts<O & CommonOptions>();
    const output = { json: options.json === true, debug: options.debug === true };
    try {
      const { document, exitStatus = EXIT.ok } = await run(createOutput(output), options, ...args.flat());
      if (output.json)
        process.stdout.write(`${JSON.stringify({ ok: exitStatus === EXIT.ok, ...document }, null, 2)}\n`);
      finish(exitStatus);
    } catch (error) {
      finish(reportFailure(nameOf(command), error, output));
    }
  });
}

const USAGE_CODES: Readonly<Record<string, string>> = {
  'commander.unknownOption': 'option-unknown',
  'commander.unknownCommand': 'command-unknown',
  'commander.excessArguments': 'argument-unexpected',
  'commander.missingArgument': 'argument-missing',
  'commander.missingMandatoryOptionValue': 'option-missing',
  'commander.optionMissingArgument': 'option-value-missing',
  'commander.conflictingOption': 'options-conflict',
};

/** Commander's own errors (a mistyped option) as a Fault; undefined when it only printed help or the version. */
export function faultOfCommander(error: CommanderError, commandPath: string): Fault | undefined {
  if (error.exitCode === 0) return undefined;
  const what = error.message
    .replace(/^error: /, '')
    .replaceAll(/\s+/g, ' ')
    .trim();
  return new Fault({
    code: USAGE_CODES[error.code] ?? 'command-line-wrong',
    what: error.code === 'commander.help' ? 'a command is missing' : what,
    cure: `See ${commandPath} --help.`,
    exitStatus: EXIT.usage,
  });
}

/** For options that may be given several times. */
export function collectValues(value: string, before: readonly string[]): string[] {
  return [...before, value];
}
