import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  decodeEscrowKey,
  makeEscrowKey,
  openEscrowKey,
  ownerLine,
  readOwnerPublicKeys,
} from '../../../keys/escrow-key.ts';
import { hpkeOpen, hpkeSeal } from '../../../platform/hpke.ts';
import { CHEAP, faultCode, PHRASE, passphrase, workshop } from './workshop.ts';

type Json = { [key: string]: Json | string | number };
const keyOf = (owner = 'ann') => makeEscrowKey(owner, passphrase(), CHEAP);
const bytesOf = (json: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(json));

describe("an owner's key file", () => {
  it('gives back a pair that opens what was sealed to its public half', async () => {
    const { content } = await keyOf();
    const file = decodeEscrowKey(content);
    const pair = await openEscrowKey(file, passphrase(PHRASE));
    const binding = { info: Buffer.from('a'), aad: Buffer.from('b') };
    const message = await hpkeSeal(Buffer.from(file.publicKey, 'hex'), binding, Buffer.from('secret'));
    expect(Buffer.from((await hpkeOpen(pair, binding, message)) ?? []).toString()).toBe('secret');
  });

  it('holds the private half encrypted only', async () => {
    const { content, file } = await keyOf();
    const { privateKey } = await openEscrowKey(file, passphrase());
    for (const form of [Buffer.from(privateKey), Buffer.from(privateKey).toString('hex')])
      expect(Buffer.from(content).includes(form)).toBe(false);
  });

  it('says that the passphrase is wrong', async () => {
    const { file } = await keyOf();
    expect(await faultCode(() => openEscrowKey(file, passphrase('another passphrase')))).toBe('passphrase-wrong');
  });

  it('refuses a change in any field, clear or sealed', async () => {
    const json: Json = JSON.parse(Buffer.from((await keyOf()).content).toString());
    const other: Json = JSON.parse(Buffer.from((await keyOf('bob')).content).toString());
    const changes: [string, Json, string][] = [
      ['owner', { owner: 'eve' }, 'passphrase-wrong'],
      ['public key alone', { publicKey: other.publicKey as string }, 'escrow-key-malformed'],
      [
        'public key with its id',
        { publicKey: other.publicKey as string, keyId: other.keyId as string },
        'passphrase-wrong',
      ],
      ['salt', { kdf: { ...(json.kdf as Json), salt: '00'.repeat(32) } }, 'passphrase-wrong'],
      ['nonce', { cipher: { ...(json.cipher as Json), nonce: '00'.repeat(12) } }, 'passphrase-wrong'],
      ['ciphertext', { ciphertext: other.ciphertext as string }, 'passphrase-wrong'],
      ['a format of another kind', { format: 'holdfast-key-1' }, 'escrow-key-malformed'],
      ['an unknown field', { note: 'x' }, 'escrow-key-malformed'],
      ['a public key of low order', { publicKey: '00'.repeat(32) }, 'escrow-key-malformed'],
    ];
    for (const [what, change, code] of changes) {
      const run = async () => openEscrowKey(decodeEscrowKey(bytesOf({ ...json, ...change })), passphrase());
      expect([what, await faultCode(run)]).toEqual([what, code]);
    }
  });

  it('gives its public half to whoever makes the root, from either file and once', async () => {
    const folder = await workshop();
    const [ann, bob] = [await keyOf(), await keyOf('bob')];
    await writeFile(join(folder, 'ann'), ann.content);
    await writeFile(join(folder, 'owners'), `# all\n${ownerLine(bob.file)}\n`);
    await writeFile(join(folder, 'bad'), 'no key\n');
    const read = (...names: string[]) => readOwnerPublicKeys(names.map((name) => join(folder, name)));
    expect((await read('ann', 'owners')).map((key) => Buffer.from(key).toString('hex'))).toEqual([
      ann.file.publicKey,
      bob.file.publicKey,
    ]);
    expect(await faultCode(() => read('ann', 'ann'))).toBe('escrow-key-twice');
    expect(await faultCode(() => read('bad'))).toBe('escrow-key-malformed');
    expect(await faultCode(() => read('absent'))).toBe('path-not-found');
  });
});
