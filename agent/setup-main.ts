/**
 * The program behind `holdfast-agent adopt` and `holdfast-agent doctor`, with which a person sets a machine up: a bundle of
 * its own, because the agent at work needs neither.
 */
import { EXIT } from '../platform/fault.ts';
import { decodeCommandLine, USAGE } from './command-options.ts';
import { adoptCommand } from './commands/adopt.ts';
import { doctorCommand } from './commands/doctor.ts';
import { runAsProgram } from './program.ts';

async function main(words: readonly string[]): Promise<number> {
  const line = decodeCommandLine(words);
  if (line.ask === 'command') {
    return (line.options.command === 'adopt' ? adoptCommand : doctorCommand)(line.options);
  }
  process.stdout.write(USAGE);
  return EXIT.ok;
}

await runAsProgram('holdfast-agent', main);
