/**
 * How commands are declared and how they end: every one takes --json and --debug, has an example in its help, returns
 * a document (printed with --json) and an exit status, and fails through platform/command-line.ts.
 */
import { type Command, type CommanderError, Option } from 'commander';
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
  /** The one that runs when the group's name stands alone, or with its options: `devices --factory`. */
  readonly isDefault?: boolean;
}

/** Adds a command below `parent`. */
export function addCommand(parent: Command, text: CommandText): Command {
  const examples = text.examples.map((example) => `  ${example}`).join('\n');
  return parent
    .command(text.usage, { isDefault: text.isDefault === true })
    .summary(text.summary)
    .description(text.details === undefined ? text.summary : `${text.summary}\n\n${text.details}`)
    .option('--json', 'print one JSON document on stdout, and nothing else')
    .option('--debug', 'print stack traces of failures')
    .allowExcessArguments(false)
    .addHelpText('after', `\nExample${text.examples.length > 1 ? 's' : ''}:\n${examples}`);
}

/** `holdfast --json devices list` is taken too; help shows the options at the commands only. */
export function takeOutputOptions(command: Command): Command {
  return command.addOption(new Option('--json').hideHelp()).addOption(new Option('--debug').hideHelp());
}

/** Adds a group of commands: `keys`, `release`. */
export function addGroup(parent: Command, name: string, summary: string): Command {
  return takeOutputOptions(parent.command(name).summary(summary).description(summary));
}

/** `holdfast keys init`. */
export function nameOf(command: Command): string {
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
    const options = command.optsWithGlobals<O & CommonOptions>();
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

/** The first word that looks like an option and is none of `command`'s. */
function strangeOption(command: Command, args: readonly string[]): string | undefined {
  const known = new Set(command.options.flatMap((option) => [option.long, option.short]));
  return args.find((word) => word.startsWith('--') && word !== '--' && !known.has(word.split('=', 1)[0] ?? word));
}

/** Commander's own errors (a mistyped option) as a Fault; undefined when it only printed help or the version. */
export function faultOfCommander(error: CommanderError, command: Command, args: readonly string[]): Fault | undefined {
  if (error.exitCode === 0) return undefined;
  const wrong = (code: string, what: string): Fault =>
    new Fault({ code, what, cure: `See ${nameOf(command)} --help.`, exitStatus: EXIT.usage });
  // Commander looks for what is missing first; a mistyped option is why it is missing.
  const strange = error.code === 'commander.missingMandatoryOptionValue' ? strangeOption(command, args) : undefined;
  if (strange !== undefined) return wrong('option-unknown', `unknown option '${strange}'`);
  // A group with a default command takes a mistyped one for an argument of that.
  if (error.code === 'commander.excessArguments' && command.commands.length > 0) {
    const typed = args.filter((word) => !word.startsWith('-'))[nameOf(command).split(' ').length - 1] ?? '';
    return wrong('command-unknown', `unknown command '${typed}'`);
  }
  if (error.code === 'commander.help') return wrong('command-missing', 'a command is missing');
  const what = error.message
    .replace(/^error: /, '')
    .replaceAll(/\s+/g, ' ')
    .trim();
  return wrong(USAGE_CODES[error.code] ?? 'command-line-wrong', what);
}

/** For options that may be given several times. */
export function collectValues(value: string, before: readonly string[]): string[] {
  return [...before, value];
}
