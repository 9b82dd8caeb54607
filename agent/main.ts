/** The `holdfast-agent` command: decodes the command line, runs one command, says how it ended. */
import { type ReportOptions, reportFailure } from '../platform/command-line.ts';
import { EXIT } from '../platform/fault.ts';
import { type CommandName, type CommandOptions, decodeCommandLine, USAGE } from './command-options.ts';
import { adoptCommand } from './commands/adopt.ts';
import { doctorCommand } from './commands/doctor.ts';
import { enrolCommand } from './commands/enrol.ts';
import { installCommand } from './commands/install.ts';
import { runCommand } from './commands/run.ts';
import { statusCommand } from './commands/status.ts';
import { verifyCommand } from './commands/verify.ts';
import { AGENT_VERSION } from './version.ts';

const RUN: Readonly<Record<CommandName, (options: CommandOptions) => Promise<number>>> = {
  run: runCommand,
  status: statusCommand,
  verify: verifyCommand,
  install: installCommand,
  enrol: enrolCommand,
  doctor: doctorCommand,
  adopt: adoptCommand,
};

async function main(words: readonly string[]): Promise<number> {
  const report: ReportOptions = { json: words.includes('--json'), debug: words.includes('--debug') };
  try {
    const line = decodeCommandLine(words);
    if (line.ask === 'command') return await RUN[line.options.command](line.options);
    process.stdout.write(line.ask === 'help' ? USAGE : `${AGENT_VERSION}\n`);
    return EXIT.ok;
  } catch (error) {
    return reportFailure('holdfast-agent', error, report);
  }
}

const status = await main(process.argv.slice(2));
// A download that is cut here goes on at the next start: nothing is waited for. Output is flushed first.
process.stdout.write('', () => process.exit(status));
