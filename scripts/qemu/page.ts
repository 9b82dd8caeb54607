/** The report as a page: one file, nothing fetched, readable without scripts. */
import { readFile, writeFile } from 'node:fs/promises';
import type { GuestReport, LabReport, ScenarioReport } from './report.ts';
import type { CountRow, CountTable } from './scenario.ts';
import { plainLine } from './serial-log.ts';

/** The end of a console says most. */
const CONSOLE_LINES = 400;

const STYLE = `
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); --dim: color-mix(in srgb, currentColor 62%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; } td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.ok { color: light-dark(#17692f, #6fd28a); } .bad { color: light-dark(#a4161a, #ff8d8d); font-weight: 600; }
th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; } .wide { overflow-x: auto; } h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
.dim { color: var(--dim); } ul { padding-left: 1.2rem; } summary { cursor: pointer; margin: .6rem 0; }
pre { overflow-x: auto; font: 13px/1.4 ui-monospace, monospace; padding: .8rem; border: 1px solid var(--line); border-radius: 6px; }
`;

export async function writePage(file: string, report: LabReport): Promise<string> {
  const sections: string[] = [];
  for (const scenario of report.scenarios) sections.push(await sectionOf(scenario));
  const rows = report.scenarios.map(
    ({ name, title, ok, seconds }) =>
      `<tr><td><a href="#${htmlOf(name)}">${htmlOf(name)}</a></td><td>${htmlOf(title)}</td><td>${mark(ok)}</td><td class="n">${seconds} s</td></tr>`,
  );
  const html = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Emulated boards: ${report.ok ? 'all as it must be' : 'not as it must be'}</title><style>${STYLE}</style></head>
<body><h1>Emulated boards: ${mark(report.ok)}</h1>
<p class="dim">${htmlOf(report.kernel)}, U-Boot, the packaged agent and the real server; ${report.seconds} s in all.</p>
<table><thead><tr><th>scenario</th><th>what must happen</th><th>result</th><th>time</th></tr></thead><tbody>${rows.join('')}</tbody></table>
${sections.join('\n')}
</body></html>
`;
  await writeFile(file, html);
  return file;
}

async function sectionOf({ name, title, findings, tables, guests }: ScenarioReport): Promise<string> {
  const list = findings.map(({ holds, text }) => `<li>${mark(holds)} ${htmlOf(text)}</li>`);
  const devices: string[] = [];
  for (const guest of guests) devices.push(await deviceOf(guest));
  return `<h2 id="${htmlOf(name)}">${htmlOf(name)}: ${htmlOf(title)}</h2><ul>${list.join('')}</ul>${tables.map(tableOf).join('')}${devices.join('')}`;
}

function tableOf({ title, rows, sums }: CountTable): string {
  const columns = [...new Set([...rows, sums].flatMap((row) => Object.keys(row)))];
  const cells = (row: CountRow, tag: 'td' | 'th'): string =>
    columns.map((name) => `<${tag} class="n">${htmlOf(String(row[name] ?? ''))}</${tag}>`).join('');
  const head = columns.map((name) => `<th>${htmlOf(name)}</th>`).join('');
  const body = rows.map((row) => `<tr>${cells(row, 'td')}</tr>`).join('');
  return `<h3>${htmlOf(title)}</h3><div class="wide"><table><thead><tr>${head}</tr></thead><tbody>${body}</tbody><tfoot><tr>${cells(sums, 'th')}</tr></tfoot></table></div>`;
}

async function deviceOf({ id, timeline, serialFile }: GuestReport): Promise<string> {
  const rows = timeline.map(
    ({ atMs, what }) => `<tr><td class="n">${(atMs / 1000).toFixed(1)} s</td><td>${htmlOf(what)}</td></tr>`,
  );
  const said = (await readFile(serialFile, 'utf8').catch(() => '')).split(/\r*\n/).slice(-CONSOLE_LINES);
  return `<details><summary>${htmlOf(id)}: timeline, ${timeline.length} entries</summary><table><tbody>${rows.join('')}</tbody></table></details>
<details><summary>${htmlOf(id)}: the console's last ${said.length} lines</summary><pre>${htmlOf(said.map(plainLine).join('\n'))}</pre></details>`;
}

const mark = (ok: boolean): string => (ok ? '<span class="ok">ok</span>' : '<span class="bad">not ok</span>');

/** Nothing that a device says may become part of the page. */
function htmlOf(text: string): string {
  const names: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
  return text.replaceAll(/[&<>"]/g, (character) => names[character] ?? '');
}
