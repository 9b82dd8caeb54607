/** `holdfast escrow`, as people run it: an owner's keys, blobs that the agent's own code sealed, and where secrets go. */
import { spawn } from 'node:child_process';
import { createPublicKey, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import 'reflect-metadata';
import { X509CertificateGenerator } from '@peculiar/x509';
import { beforeAll, describe, expect, it } from 'vitest';
import { decodeEscrowKey, openEscrowKey } from '../../../keys/escrow-key.ts';
import { BINDING, makeDevice, SECRETS, sealBlob } from '../keys/escrow-world.ts';
import { PHRASE, passphrase, workshop } from '../keys/workshop.ts';
import { documentOf, type Run, runHoldfast } from './run-holdfast.ts';

const device = makeDevice();
let home: string;
let at: (name: string) => string;
const run = (...args: string[]): Promise<Run> =>
  runHoldfast(args, { home, env: { HOLDFAST_PASSPHRASE_FILE: at('pass') } });
const open = (...args: string[]): Promise<Run> => run('escrow', 'open', ...args, '--json');
/** What a terminal would swallow is shown in quotes. */
const AWKWARD = { name: 'maker:awkward', text: ' tab\there ' };
const everything = ({ stdout, stderr }: Run): string => stdout + stderr;
const texts = SECRETS.map(({ text }) => text);

/** As a server would issue it, but for the issuer, which is not judged here. */
async function certificateOf(key: KeyObject, deviceId: string): Promise<string> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const der = key.export({ format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: `CN=${deviceId}`,
    signingAlgorithm: algorithm,
    keys: {
      privateKey: await crypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']),
      publicKey: await crypto.subtle.importKey('spki', spki, algorithm, true, ['verify']),
    },
  });
  return certificate.toString('pem');
}

beforeAll(async () => {
  home = await workshop();
  at = (name) => join(home, name);
  await writeFile(at('pass'), `${PHRASE}\n`);
  const pairs = [];
  for (const owner of ['ann', 'bob', 'eve']) {
    const made = await run('escrow', 'key', 'new', owner, '--json');
    expect(made.status, everything(made)).toBe(0);
    pairs.push(await openEscrowKey(decodeEscrowKey(await readFile(at(`${owner}.escrow-key`))), passphrase()));
  }
  const blob = await sealBlob(device, pairs.slice(0, 2));
  await writeFile(at('awkward'), await sealBlob(device, pairs.slice(0, 2), BINDING, [AWKWARD, ...SECRETS]));
  await writeFile(at('blob'), blob);
  await writeFile(
    at('tampered'),
    blob.map((byte, index) => (index === 700 ? byte ^ 4 : byte)),
  );
  await writeFile(at('other-device'), await sealBlob(device, pairs.slice(0, 2), { deviceId: 'cam-0002', epoch: 3 }));
  const pem = (key: ReturnType<typeof makeDevice>): string =>
    createPublicKey(key.key).export({ format: 'pem', type: 'spki' }).toString();
  await writeFile(at('device.pub'), pem(device));
  await writeFile(at('stranger.pub'), pem(makeDevice()));
  await writeFile(at('device.crt'), await certificateOf(device.key, 'cam-0001'));
  await writeFile(at('other.crt'), await certificateOf(device.key, 'cam-0002'));
}, 60_000);

describe('holdfast escrow key', () => {
  it('new makes a key of 0600 and a public half, and says what comes next', async () => {
    const made = await run('escrow', 'key', 'new', 'dan');
    expect(made.status).toBe(0);
    expect((await stat(at('dan.escrow-key'))).mode & 0o777).toBe(0o600);
    const line = (await readFile(at('dan.escrow-key.pub'), 'utf8')).trim();
    expect(line).toMatch(/^[0-9a-f]{64} {2}# dan$/);
    expect(made.stdout).toContain(line);
    expect(made.stdout).toContain('--escrow-key');
    expect(documentOf(await run('escrow', 'key', 'show', 'dan.escrow-key', '--json'))).toMatchObject({
      ok: true,
      key: { owner: 'dan', publicKey: line.slice(0, 64) },
    });
  });

  it('new overwrites nothing, and puts nothing into a git repository', async () => {
    expect(documentOf(await run('escrow', 'key', 'new', 'ann', '--json'))).toMatchObject({ code: 'file-exists' });
    await mkdir(at('repo/.git'), { recursive: true });
    expect(documentOf(await run('escrow', 'key', 'new', 'x', '--out', 'repo/x', '--json'))).toMatchObject({
      code: 'secrets-inside-repository',
    });
    expect(documentOf(await run('escrow', 'key', 'new', 'A B', '--json'))).toMatchObject({
      code: 'owner-name-malformed',
    });
  });
});

describe('holdfast escrow open', () => {
  it('writes the secrets to a new file of 0600 for each owner, and says that they must be rotated', async () => {
    for (const owner of ['ann', 'bob']) {
      const args = ['blob', '--key', `${owner}.escrow-key`, '--device-key', 'device.pub', '--out', `${owner}.secrets`];
      const opened = await open(...args, '--device', BINDING.deviceId, '--epoch', '3');
      expect(opened.status, everything(opened)).toBe(0);
      expect(documentOf(opened)).toMatchObject({ ok: true, signature: 'verified', rotate: BINDING.deviceId });
      for (const text of texts) expect(everything(opened)).not.toContain(text);
      expect((await stat(at(`${owner}.secrets`))).mode & 0o777).toBe(0o600);
      expect(JSON.parse(await readFile(at(`${owner}.secrets`), 'utf8')).secrets).toEqual(SECRETS);
    }
    const again = await run('escrow', 'open', 'blob', '--key', 'ann.escrow-key', '--out', 'more.secrets');
    expect(again.stdout).toContain(`holdfast credentials rotate ${BINDING.deviceId}`);
    expect(again.stderr).toContain('signature was not checked');
  });

  it('shows them on a terminal', async () => {
    // script(1) gives the command a terminal of its own, and copies what it shows.
    const node = join(import.meta.dirname, '../../../node_modules/.bin/node');
    const cli = join(import.meta.dirname, '../../../cli/main.ts');
    const command = `${node} ${cli} escrow open awkward --key ann.escrow-key --device-key device.pub`;
    const child = spawn('script', ['-qec', command, '/dev/null'], {
      cwd: home,
      env: { ...process.env, HOME: home, HOLDFAST_HOME: home, HOLDFAST_PASSPHRASE_FILE: at('pass') },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let shown = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      shown += text;
    });
    const [status] = await once(child, 'close');
    expect(status).toBe(0);
    for (const text of texts) expect(shown).toContain(text);
    expect(shown).toContain('" tab\\there "');
    expect(shown).toContain(`holdfast credentials rotate ${BINDING.deviceId}`);
  });

  it('gives no secret to a pipe, nor to a JSON document', async () => {
    for (const json of [[], ['--json']]) {
      const piped = await run('escrow', 'open', 'blob', '--key', 'ann.escrow-key', ...json);
      expect(piped.status).toBe(2);
      expect(everything(piped)).toContain('secrets-need-a-place');
      for (const text of texts) expect(everything(piped)).not.toContain(text);
    }
  });

  it.each<[string, string[], string]>([
    ['a key that is no owner', ['blob', '--key', 'eve.escrow-key'], 'escrow-not-an-owner'],
    ['a blob that was tampered with', ['tampered', '--key', 'ann.escrow-key'], 'escrow-altered'],
    [
      'the same where the device is known',
      ['tampered', '--key', 'ann.escrow-key', '--device-key', 'device.pub'],
      'escrow-signature-invalid',
    ],
    ['another device', ['other-device', '--key', 'ann.escrow-key', '--device', 'cam-0001'], 'escrow-other-device'],
    [
      'the certificate of another device',
      ['blob', '--key', 'ann.escrow-key', '--device-key', 'other.crt'],
      'escrow-other-device',
    ],
    ['another epoch', ['blob', '--key', 'ann.escrow-key', '--epoch', '4'], 'escrow-other-epoch'],
    ['another signer', ['blob', '--key', 'ann.escrow-key', '--device-key', 'stranger.pub'], 'escrow-signature-invalid'],
    ['a file that is no blob', ['pass', '--key', 'ann.escrow-key'], 'escrow-malformed'],
    [
      'a device key that is none',
      ['blob', '--key', 'ann.escrow-key', '--device-key', 'pass'],
      'device-key-file-malformed',
    ],
    ['a key that is none', ['blob', '--key', 'device.pub'], 'escrow-key-malformed'],
  ])('refuses %s by its own code, and writes nothing', async (_what, args, code) => {
    const refused = await open(...args, '--out', 'nothing.secrets');
    expect(documentOf(refused)).toMatchObject({ ok: false, code });
    expect(refused.status).toBeGreaterThan(1);
    await expect(stat(at('nothing.secrets'))).rejects.toThrow('ENOENT');
  });
});

describe('holdfast escrow inspect and reseal', () => {
  it('inspect says whose it is and who can open it, without a key and without a secret', async () => {
    const looked = await run('escrow', 'inspect', 'blob', '--device-key', 'device.pub', '--json');
    expect(documentOf(looked)).toMatchObject({
      ok: true,
      device: 'cam-0001',
      epoch: 3,
      signature: 'verified',
      added: [],
    });
    expect(documentOf(looked).owners).toHaveLength(2);
    const certified = await run('escrow', 'inspect', 'blob', '--device-key', 'device.crt', '--json');
    expect(documentOf(certified)).toEqual(documentOf(looked));
    for (const { name, text } of SECRETS) {
      expect(everything(looked)).not.toContain(text);
      expect(everything(looked)).not.toContain(name);
    }
  });

  it("reseal lets a later owner open it under the device's signature, and says what it does not do", async () => {
    const args = ['--key', 'ann.escrow-key', '--owner', 'eve.escrow-key.pub', '--out', 'resealed'];
    const nobody = await run('escrow', 'reseal', 'blob', '--key', 'ann.escrow-key', '--out', 'resealed', '--json');
    expect(documentOf(nobody)).toMatchObject({ ok: false, code: 'option-missing' });
    const resealed = await run('escrow', 'reseal', 'blob', ...args, '--device-key', 'device.pub');
    expect(resealed.status, everything(resealed)).toBe(0);
    expect(resealed.stdout).toContain('takes nothing from anybody');
    const opened = await open(
      'resealed',
      '--key',
      'eve.escrow-key',
      '--device-key',
      'device.pub',
      '--out',
      'eve.secrets',
    );
    expect(documentOf(opened)).toMatchObject({ ok: true, signature: 'verified' });
    expect(JSON.parse(await readFile(at('eve.secrets'), 'utf8')).secrets).toEqual(SECRETS);
    expect(documentOf(await run('escrow', 'inspect', 'resealed', '--json')).added).toHaveLength(1);
  });
});

describe('owners in the signed root', () => {
  const CEREMONY = ['--vendor', 'acme.example', '--class', 'acme-cam', '--people', '2', '--json'];

  it('come in at the ceremony, and change with the next root that enough people sign', async () => {
    const owners = ['--escrow-key', 'ann.escrow-key.pub', '--escrow-key', 'bob.escrow-key'];
    const held = await run('keys', 'init', '--dir', 'cer', ...CEREMONY, ...owners);
    expect(documentOf(held).owners).toHaveLength(2);
    expect(documentOf(await run('keys', 'verify', 'cer', '--json')).owners).toEqual(documentOf(held).owners);
    const next = ['--metadata', 'cer/public', '--json'];
    const drafted = await run(
      ...['keys', 'root', 'draft', ...next, '--out', '2.root.json'],
      ...['--escrow-key', 'bob.escrow-key.pub', '--escrow-key', 'eve.escrow-key.pub'],
    );
    expect(documentOf(drafted)).toMatchObject({ ok: true, version: 2 });
    for (const [person, complete] of [
      ['person-1', false],
      ['person-2', true],
    ] as const) {
      const signed = await run('keys', 'root', 'sign', '2.root.json', ...next, '--key', `cer/${person}/root.key`);
      expect(documentOf(signed)).toMatchObject({ ok: true, added: true, complete });
      expect((documentOf(signed).changes as { what: string }[]).map(({ what }) => what)).toContain('owner removed');
    }
  }, 60_000);

  it('are at least two, or none that was said aloud', async () => {
    const one = await run('keys', 'init', '--dir', 'cer1', ...CEREMONY, '--escrow-key', 'ann.escrow-key.pub');
    expect(documentOf(one)).toMatchObject({ code: 'escrow-owners-wrong' });
    const silent = await run('keys', 'root', 'draft', '--metadata', 'cer/public', '--out', 'x', '--json');
    expect(documentOf(silent)).toMatchObject({ code: 'escrow-owners-wrong' });
  });
});
