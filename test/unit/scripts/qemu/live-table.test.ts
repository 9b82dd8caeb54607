import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { LiveTable } from '../../../../scripts/qemu/live-table.ts';

const VIEW = { id: 'good-1', stage: 'kernel', slot: 'b', version: '2.0.0', last: 'agent: starting' } as const;

function tableOn(isTTY: boolean) {
  const stream = Object.assign(new PassThrough(), { isTTY });
  let written = '';
  stream.on('data', (chunk: Buffer) => {
    written += chunk.toString();
  });
  // A terminal is more than what the table uses of it.
  return { table: new LiveTable(false, stream as unknown as NodeJS.WriteStream), written: () => written };
}

it('draws devices on a terminal, and erases them for what stays', async () => {
  const { table, written } = tableOn(true);
  table.changed(VIEW);
  await expect
    .poll(written)
    .toMatch(/device +stage +slot +version +last[\s\S]*good-1 +kernel +b +2\.0\.0 +agent: starting/);
  table.clear();
  await expect.poll(written).toContain('\u001b[3A\u001b[J');
});

it('draws nothing into a log', async () => {
  const { table, written } = tableOn(false);
  table.changed(VIEW);
  await new Promise((resolve) => setTimeout(resolve, 400));
  expect(written()).toBe('');
});
