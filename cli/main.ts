/**
 * The `holdfast` command. Thin: keys/ and the server do the work; this file only puts the commands together and turns
 * the outcome into an exit status.
 */
import { Command, CommanderError } from 'commander';
import { reportFailure } from '../platform/command-line.ts';
import { EXIT, systemErrorCode } from '../platform/fault.ts';
import { type Finish, faultOfCommander, nameOf, takeOutputOptions } from './command.ts';
import { addCredentialCommands } from './commands/credentials.ts';
import { addDevCommands } from './commands/dev.ts';
import { addDeviceCommands } from './commands/devices.ts';
import { addEscrowCommands } from './commands/escrow.ts';
import { addEvidenceCommands } from './commands/evidence.ts';
import { addImageCommands } from './commands/image.ts';
import { addKeysCommands } from './commands/keys.ts';
import { addLabelCommand } from './commands/label.ts';
import { addLoginCommands } from './commands/login.ts';
import { addPeopleCommands } from './commands/people.ts';
import { addReleaseCommands } from './commands/release.ts';
import { addReplayCommand } from './commands/replay.ts';
import { addRolloutCommands } from './commands/rollout.ts';

const VERSION = '0.1.0';

const OVERVIEW = `
The path from nothing to a running fleet:
  holdfast keys init          make the keys (offline, once)
  holdfast-server run         start the server with the ceremony's server folder
  holdfast login              connect this machine to it
  holdfast devices claims     let devices in
  holdfast image lint         is the image fit for devices?
  holdfast release build      then preflight, sign and publish: a release
  holdfast rollout start      give it to devices, wave by wave
  holdfast explain DEVICE     why is this one not updated?

Every command takes --json (one document on stdout) and --debug (stack traces), and shows an example with --help.
Exit status: 0 good · 1 a bug · 2 command line · 3 input · 4 refused · 5 this machine · 6 another machine · 7 damaged state.`;

/** Which command the arguments were for, as far as they name one: for messages. */
function commandFor(program: Command, args: readonly string[]): Command {
  let at = program;
  for (const word of args.filter((candidate) => !candidate.startsWith('-'))) {
    const next = at.commands.find((command) => command.name() === word);
    if (next === undefined) break;
    at = next;
  }
  return at;
}

function createProgram(finish: Finish): Command {
  const program = takeOutputOptions(new Command('holdfast'))
    .description('Signed A/B firmware updates: keys, releases, devices and rollouts.')
    .version(VERSION)
    .exitOverride()
    .enablePositionalOptions()
    .configureOutput({ writeErr: () => undefined })
    .helpCommand(false)
    .addHelpText('after', OVERVIEW);
  addKeysCommands(program, finish);
  addLoginCommands(program, finish);
  addImageCommands(program, finish);
  addReleaseCommands(program, finish);
  addDeviceCommands(program, finish);
  addRolloutCommands(program, finish);
  addCredentialCommands(program, finish);
  addEvidenceCommands(program, finish);
  addReplayCommand(program, finish);
  addEscrowCommands(program, finish);
  addLabelCommand(program, finish);
  addPeopleCommands(program, finish);
  addDevCommands(program, finish);
  return program;
}

/** Runs one command line (without the program's name) and returns its exit status. Never throws for what people do. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  let status: number = EXIT.ok;
  const program = createProgram((ended) => {
    status = ended;
  });
  try {
    await program.parseAsync([...args], { from: 'user' });
    return status;
  } catch (error) {
    const command = commandFor(program, args);
    const output = { json: args.includes('--json'), debug: args.includes('--debug') };
    if (!(error instanceof CommanderError)) return reportFailure(nameOf(command), error, output);
    const fault = faultOfCommander(error, command, args);
    return fault === undefined ? EXIT.ok : reportFailure(nameOf(command), fault, output);
  }
}

// `holdfast … | head` closes the pipe early; that is nobody's failure.
process.stdout.on('error', (error) => {
  if (systemErrorCode(error) !== 'EPIPE') throw error;
  process.exit(EXIT.ok);
});
process.exitCode = await runCommandLine(process.argv.slice(2));
