/** `doctor`: what on this machine is missing for a safe update, and how to cure it. Exit 0 when nothing is, else 4. */
import { nodeDisk } from '../../platform/disk.ts';
import { EXIT } from '../../platform/fault.ts';
import { openBoard } from '../boards/open-board.ts';
import type { CommandOptions } from '../command-options.ts';
import { readConfig } from '../config.ts';
import { checkBoard } from '../doctor/board-checks.ts';
import { describeRows } from '../doctor/finding.ts';
import { checkMachine } from '../doctor/machine-checks.ts';
import { selfTest } from '../doctor/self-test.ts';
import { holdDataDirectory } from '../single-instance.ts';

export async function doctorCommand(options: CommandOptions): Promise<number> {
  const config = await readConfig(nodeDisk, options.config);
  const board = openBoard(config.board, nodeDisk);
  const held = options.selfTest ? holdDataDirectory(config.dataDirectory) : undefined;
  const rows = [...(await checkMachine(config, nodeDisk)), ...(await checkBoard(config, board, nodeDisk))];
  if (options.selfTest) rows.push(...(await selfTest(config, board, nodeDisk, rows)));
  held?.close();
  const fit = rows.every(({ state }) => state !== 'missing');
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ ok: fit, board: board.kind, rows })}\n`
      : `${describeRows(rows)}${fit ? 'fit for updates' : 'not fit for updates'}\n`,
  );
  return fit ? EXIT.ok : EXIT.refused;
}
