/**
 * The program behind `holdfast-agent firstboot`: a bundle of its own, because it starts at every boot before the network
 * and shall contain nothing that speaks over one (docs/adr/0021-first-boot.md).
 */
import { firstBootCommand } from './first-boot/command.ts';
import { runAsProgram } from './program.ts';

// bin/holdfast-agent hands the whole command line on.
await runAsProgram('holdfast-agent firstboot', (words) =>
  firstBootCommand(words[0] === 'firstboot' ? words.slice(1) : words),
);
