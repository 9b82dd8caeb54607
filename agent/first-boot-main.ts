/**
 * The program behind `holdfast-agent firstboot`: a bundle of its own, because it starts at every boot before the network
 * and shall contain nothing that speaks over one (docs/adr/0021-first-boot.md).
 */
import { reportFailure } from '../platform/command-line.ts';
import { firstBootCommand } from './first-boot/command.ts';

async function main(words: readonly string[]): Promise<number> {
  // bin/holdfast-agent hands the whole command line on.
  const own = words[0] === 'firstboot' ? words.slice(1) : words;
  try {
    return await firstBootCommand(own);
  } catch (error) {
    return reportFailure('holdfast-agent firstboot', error, {
      json: own.includes('--json'),
      debug: own.includes('--debug'),
    });
  }
}

const status = await main(process.argv.slice(2));
process.stdout.write('', () => process.exit(status));
