/**
 * The program behind the commands with which a person sets a machine up (adopt, doctor, password, label): a bundle of its
 * own, because the agent at work needs none of them.
 */
import { EXIT } from '../platform/fault.ts';
import { type CommandName, type CommandOptions, decodeCommandLine, USAGE } from './command-options.ts';
import { adoptCommand } from './commands/adopt.ts';
import { doctorCommand } from './commands/doctor.ts';
import { labelCommand } from './commands/label.ts';
import { passwordCommand } from './commands/password.ts';
import { runAsProgram } from './program.ts';

const RUN: Readonly<Partial<Record<CommandName, (options: CommandOptions) => Promise<number>>>> = {
  adopt: adoptCommand,
  doctor: doctorCommand,
  password: passwordCommand,
  label: labelCommand,
};

async function main(words: readonly string[]): Promise<number> {
  const line = decodeCommandLine(words);
  if (line.ask === 'command') {
    const run = RUN[line.options.command];
    if (run === undefined) throw new Error(`bin/holdfast-agent starts another program for ${line.options.command}`);
    return run(line.options);
  }
  process.stdout.write(USAGE);
  return EXIT.ok;
}

await runAsProgram('holdfast-agent', main);
