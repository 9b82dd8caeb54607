/**
 * The program behind `holdfast-agent adopt` and `holdfast-agent doctor`, with which a person sets a machine up: a bundle of
 * its own, because the agent at work needs neither.
 */
import { type ReportOptions, reportFailure } from '../platform/command-line.ts';
import { EXIT } from '../platform/fault.ts';
import { decodeCommandLine, USAGE } from './command-options.ts';
import { adoptCommand } from './commands/adopt.ts';
import { doctorCommand } from './commands/doctor.ts';

async function main(words: readonly string[]): Promise<number> {
  const report: ReportOptions = { json: words.includes('--json'), debug: words.includes('--debug') };
  try {
    const line = decodeCommandLine(words);
    if (line.ask === 'command') {
      return await (line.options.command === 'adopt' ? adoptCommand : doctorCommand)(line.options);
    }
    process.stdout.write(USAGE);
    return EXIT.ok;
  } catch (error) {
    return reportFailure('holdfast-agent', error, report);
  }
}

const status = await main(process.argv.slice(2));
process.stdout.write('', () => process.exit(status));
