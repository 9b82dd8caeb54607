import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formsOf } from '../../../../scripts/byte-scan/forms.ts';
import { opensshSecrets, pkcs8Secrets, textSecret } from '../../../../scripts/byte-scan/key-secrets.ts';
import { ByteScan } from '../../../../scripts/byte-scan/scan.ts';

const PASSWORD = 'k7fm-tq2x-9hcd-w4zr-61pb-yv3n-s8gj';
const secret = textSecret('password', PASSWORD);
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-scan-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function scanned(content: Uint8Array, ...secrets: Parameters<typeof formsOf>[0][]) {
  const path = join(folder, 'raw');
  await writeFile(path, content);
  return new ByteScan(secrets.length === 0 ? [secret] : secrets).file(path);
}
const amidNoise = (...parts: (string | Uint8Array)[]): Buffer =>
  Buffer.concat([randomBytes(1000), ...parts.map((part) => Buffer.from(part)), randomBytes(1000)]);

describe('a secret', () => {
  const encodings: readonly (readonly [string, string | Uint8Array])[] = [
    ['plain', PASSWORD],
    ['utf-16le', Buffer.from(PASSWORD, 'utf16le')],
    ['utf-16be', Buffer.from(PASSWORD, 'utf16le').swap16()],
    ['hex', Buffer.from(PASSWORD).toString('hex')],
    ['HEX', Buffer.from(PASSWORD).toString('hex').toUpperCase()],
    ...[0, 1, 2].map(
      (before) =>
        [`base64+${before}`, Buffer.from(`${'x'.repeat(before)}${PASSWORD} and more`).toString('base64')] as const,
    ),
  ];
  it.each(encodings)('is found as %s, once, where it is', async (form, planted) => {
    const hits = await scanned(amidNoise(planted));
    expect(hits.map((hit) => hit.form)).toEqual([form]);
    expect(Math.abs((hits[0]?.offsetBytes ?? 0) - 1000)).toBeLessThan(4);
  });

  it.each([0, 1, 2])('of any bytes is found as base64url with %i before it', async (before) => {
    const bytes = Buffer.from('fbefbefffffefbefbefffffefbefbeffff3e', 'hex');
    const planted = Buffer.concat([Buffer.alloc(before, 7), bytes, Buffer.alloc(5)]).toString('base64url');
    const hits = await scanned(amidNoise(planted), { name: 'key', bytes });
    expect(hits.map((hit) => hit.form)).toEqual([`base64url+${before}`]);
  });

  it('is found across the edge of two reads, and at both ends, each place once', async () => {
    const bytes = Buffer.alloc(9 * 1024 * 1024);
    const places = [0, 4 * 1024 * 1024 - 10, 8 * 1024 * 1024 + 3, bytes.length - PASSWORD.length];
    for (const place of places) bytes.write(PASSWORD, place);
    expect((await scanned(bytes)).map(({ offsetBytes }) => offsetBytes)).toEqual(places);
  });

  it('is not found where it is not, nor behind compression: what is packed must be unpacked first', async () => {
    expect(await scanned(randomBytes(100_000))).toEqual([]);
    expect(await scanned(Buffer.from(PASSWORD.slice(1)))).toEqual([]);
    expect(await scanned(gzipSync(`${PASSWORD} ${PASSWORD}`))).toEqual([]);
  });

  it('that is too short to be told from chance is refused, and so is a scan for nothing', () => {
    expect(() => formsOf(textSecret('pin', '1234567'))).toThrow('pin has 7 bytes');
    expect(() => new ByteScan([])).toThrow(RangeError);
  });

  it('is found in every file of a folder, through no link', async () => {
    await mkdir(join(folder, 'a/b'), { recursive: true });
    await writeFile(join(folder, 'a/b/log'), `it is ${PASSWORD}\n`);
    await writeFile(join(folder, 'a/other'), 'nothing\n');
    await symlink(join(folder, 'a/b/log'), join(folder, 'link'));
    expect([...(await new ByteScan([secret]).folder(folder)).keys()]).toEqual(['a/b/log']);
  });
});

describe('what is secret in a key', () => {
  const keyOf = async (name: string): Promise<string> => {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'a comment', '-f', join(folder, name)]);
    return readFile(join(folder, name), 'utf8');
  };

  it('of OpenSSH’s is found in that key in text and as bytes, and neither in another nor in its public part', async () => {
    const text = await keyOf('one');
    const secrets = opensshSecrets('host key', text);
    const names = (hits: Awaited<ReturnType<typeof scanned>>) => new Set(hits.map(({ name }) => name));
    expect(names(await scanned(Buffer.from(text), ...secrets))).toEqual(new Set(secrets.map(({ name }) => name)));
    const bytes = Buffer.from(text.replaceAll(/-----.*-----|\n/g, ''), 'base64');
    expect(names(await scanned(bytes, ...secrets))).toEqual(new Set(['host key, seed']));
    expect(await scanned(Buffer.from(await keyOf('two')), ...secrets)).toEqual([]);
    expect(await scanned(await readFile(join(folder, 'one.pub')), ...secrets)).toEqual([]);
  });

  it('of a device key is found in its file and bare, and not in another’s', async () => {
    const make = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const [key, other] = [make(), make()];
    const pem = String(key.export({ format: 'pem', type: 'pkcs8' }));
    const secrets = pkcs8Secrets('device key', pem);
    expect((await scanned(Buffer.from(pem), ...secrets)).length).toBeGreaterThan(0);
    expect((await scanned(key.export({ format: 'der', type: 'pkcs8' }), ...secrets)).map(({ name }) => name)).toEqual([
      'device key, scalar',
    ]);
    expect(await scanned(Buffer.from(String(other.export({ format: 'pem', type: 'pkcs8' }))), ...secrets)).toEqual([]);
  });
});
