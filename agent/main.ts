/** The `holdfast-agent` command: decodes the command line, runs one command, says how it ended. */
import { EXIT } from '../platform/fault.ts';
import { type CommandName, type CommandOptions, decodeCommandLine, USAGE } from './command-options.ts';
import { enrolCommand } from './commands/enrol.ts';
import { installCommand } from './commands/install.ts';
import { runCommand } from './commands/run.ts';
import { statusCommand } from './commands/status.ts';
import { verifyCommand } from './commands/verify.ts';
import { runAsProgram } from './program.ts';
import { AGENT_VERSION } from './version.ts';

/** The others are in agent/setup-main.ts and agent/first-boot-main.ts: bin/holdfast-agent starts the right program. */
const RUN: Readonly<Partial<Record<CommandName, (options: CommandOptions) => Promise<number>>>> = {
  run: runCommand,
  status: statusCommand,
  verify: verifyCommand,
  install: installCommand,
  enrol: enrolCommand,
};

async function main(words: readonly string[]): Promise<number> {
  const line = decodeCommandLine(words);
  if (line.ask === 'command') {
    const { command } = line.options;
    const run = RUN[command];
    if (run === undefined) throw new Error(`bin/holdfast-agent starts another program for ${command}`);
    return run(line.options);
  }
  process.stdout.write(line.ask === 'help' ? USAGE : `${AGENT_VERSION}\n`);
  return EXIT.ok;
}

await runAsProgram('holdfast-agent', main);
