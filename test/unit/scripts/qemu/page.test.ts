import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { writePage } from '../../../../scripts/qemu/page.ts';

it('nothing that a device says becomes part of the page', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'page-'));
  const serialFile = join(folder, 'console');
  await writeFile(serialFile, '<script>alert(1)</script>\r\n"&"\r\n');
  const guest = { id: 'x<1>', serialFile, timeline: [{ atMs: 1500, what: 'lab: <b>' }] };
  const findings = [{ holds: false, text: 'slot <a>' }];
  const table = { title: 'boots <i>', rows: [{ 'to it': 3, how: '<u>' }], sums: { 'to it': 4711 } };
  const scenario = {
    name: 'good',
    title: 'A & B',
    ok: false,
    seconds: 3,
    findings,
    boots: [],
    tables: [table],
    guests: [guest],
  };
  const path = await writePage(join(folder, 'report.html'), {
    ok: false,
    seconds: 3,
    kernel: 'linux-image',
    scenarios: [scenario],
  });
  const html = await readFile(path, 'utf8');
  expect(html).not.toMatch(/<script|<b>|<a>|<i>|<u>|x<1>/);
  expect(html).toContain('4711');
  expect(html).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
  expect(html).toContain('1.5 s');
  expect(html).toContain('not as it must be');
});
