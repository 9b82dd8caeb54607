import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { TRANSPORT_CODES } from '../../../protocol/image-transport.ts';
import { STATEMENT_REFUSALS } from '../../../update-server/core/credentials.ts';
import { ENROLMENT_REFUSALS } from '../../../update-server/enrolment/enrolment.ts';
import { ESCROW_REFUSALS } from '../../../update-server/http/device/credential-routes.ts';
import { MQTT_REFUSALS } from '../../../update-server/mqtt/rules.ts';
import { ROOT, readProjectFile } from './project-files.ts';

const section =
  (await readProjectFile('docs/DEVICE_PROTOCOL.md')).split('## Answers that say no')[1]?.split(/^## /m)[0] ?? '';
const rows = section
  .split('\n')
  .filter((line) => line.startsWith('| ') && !/^\| (---|status|code|field|`(ok|code|what|cure|where)`)/.test(line));
const documented = rows.flatMap((row) => [...row.matchAll(/`([a-z]+(?:-[a-z0-9]+)+)`/g)].map(([, code = '']) => code));

/** Codes that routes and hooks of the device listener answer with. */
async function httpCodes(): Promise<string[]> {
  const folder = 'update-server/http/device';
  const texts = await Promise.all(
    (await readdir(join(ROOT, folder))).map((name) => readProjectFile(`${folder}/${name}`)),
  );
  return texts.flatMap((text) => [...text.matchAll(/\bcode: '([a-z0-9-]+)'/g)].map(([, code = '']) => code));
}

describe('docs/DEVICE_PROTOCOL.md', () => {
  it('lists every code with which the device listener and the broker refuse, and no other', async () => {
    const named = [
      ...Object.keys(ENROLMENT_REFUSALS),
      ...Object.keys(MQTT_REFUSALS),
      ...Object.values(TRANSPORT_CODES),
      ...Object.keys(STATEMENT_REFUSALS),
      ...Object.keys(ESCROW_REFUSALS),
    ];
    const codes = [...(await httpCodes()), ...named];
    expect([...new Set(documented)].sort()).toEqual([...new Set(codes)].sort());
  });

  it('gives enrolment refusals the status that they have', () => {
    for (const [code, { status }] of Object.entries(ENROLMENT_REFUSALS)) {
      expect(
        rows.some((row) => row.startsWith(`| ${status} | \`${code}\``)),
        code,
      ).toBe(true);
    }
  });
});
