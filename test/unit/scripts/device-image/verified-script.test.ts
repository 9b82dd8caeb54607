import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HAS_U_BOOT, UBootMachine } from '../../agent/boards/u-boot-machine.ts';

/** Without what loads and starts a kernel: the machine has stand-ins. */
const VERIFIED = readFileSync(join(import.meta.dirname, '../../../../scripts/device-image/board/verified.cmd'), 'utf8')
  .split('\n')
  .filter((line) => !/^setenv holdfast_(load|start) /.test(line))
  .join('\n');

describe.skipIf(!HAS_U_BOOT)('what a verified boot takes from the stored environment', () => {
  let machine: UBootMachine;
  beforeAll(async () => {
    machine = await UBootMachine.start(undefined, VERIFIED);
  }, 60_000);
  afterAll(() => machine.stop());

  const cases = [
    ['what the agent writes', 'b a', '0123456789abcdef', 'b', '0123456789abcdef'],
    ['a canary that brings an option of the kernel', 'b a', 'ab12 init=/tmp/x', 'b', 'ab12'],
    ['no canary', 'b a', '', 'b', ''],
    ['a canary that ends its quotes', 'b a', 'ab" init=/x; echo START evil; "', 'b', undefined],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: U-Boot's variable
    ['a canary that names a variable', 'b a', '${bootcmd}', 'b', undefined],
    ['slots that do not exist', 'c /dev/vda b;a a', 'ab12', 'a', 'ab12'],
  ] as const;

  it.each(cases)('%s', async (_, order, canary, slot, expected) => {
    const lines = await machine.boot({ BOOT_ORDER: order, holdfast_canary: canary });
    const [start = ''] = lines.filter((line) => line.startsWith('START'));
    expect(lines.join('\n')).not.toContain('evil');
    expect(start).toContain(` holdfast.slot=${slot} holdfast.trial=0 holdfast.canary=`);
    expect(start).not.toContain('init=');
    const found = / holdfast\.canary=(.*)$/.exec(start)?.[1] ?? 'none';
    expect(found).toMatch(/^[0-9a-f]*$/);
    if (expected !== undefined) expect(found).toBe(expected);
  });
});
