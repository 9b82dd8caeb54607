import { describe, expect, it } from 'vitest';
import { decodeKeyFile, makeKeyFile, openKey, sealKeyFile } from '../../../keys/key-file.ts';
import { demandStrength, Passphrase } from '../../../keys/passphrase.ts';
import { STANDARD_COST } from '../../../keys/passphrase-cipher.ts';
import { ephemeralKey, generateRawKey, softwareKey } from '../../../keys/signing-key.ts';
import { verifyP256 } from '../../../trust/crypto.ts';
import { verifyEd25519 } from '../../../trust/signature.ts';
import { CHEAP, faultCode, passphrase } from './workshop.ts';

const message = new TextEncoder().encode('a release');
type Json = { [key: string]: Json | string | number };

async function keyJson(): Promise<Json> {
  const { content } = await makeKeyFile({ role: 'targets', person: 'person-1' }, passphrase(), { cost: CHEAP });
  return JSON.parse(new TextDecoder().decode(content));
}
const bytesOf = (json: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(json));
const open = async (json: unknown, text?: string) => openKey(decodeKeyFile(bytesOf(json)), passphrase(text));

describe('key files', () => {
  it.each(['ed25519', 'esp256'] as const)(
    'gives back an author key (%s) whose signatures trust/ accepts',
    async (algorithm) => {
      const { content, file } = await makeKeyFile({ role: 'author', person: 'author-x' }, passphrase(), {
        algorithm,
        cost: CHEAP,
      });
      const key = await openKey(decodeKeyFile(content), passphrase());
      const verify = algorithm === 'ed25519' ? verifyEd25519 : verifyP256;
      expect(verify(key.publicKey, message, await key.sign(message))).toBe(true);
      expect(key.keyId).toBe(file.keyId);
    },
  );

  it('costs 128 MiB when nobody says otherwise', () => {
    expect(STANDARD_COST).toEqual({ N: 131072, r: 8, p: 1 });
  });

  it('holds the private half encrypted only', async () => {
    const raw = generateRawKey('ed25519');
    const content = await sealKeyFile({ role: 'root', person: 'person-1' }, raw, passphrase(), CHEAP);
    const secret = Buffer.from(raw.secret);
    expect(Buffer.from(content).includes(secret)).toBe(false);
    expect(Buffer.from(content).includes(secret.toString('hex'))).toBe(false);
    expect(Buffer.from(content).includes(secret.toString('base64'))).toBe(false);
  });

  it('says that the passphrase is wrong', async () => {
    expect(await faultCode(async () => open(await keyJson(), 'another passphrase'))).toBe('passphrase-wrong');
  });

  it('refuses a change in any field, clear or sealed', async () => {
    const json = await keyJson();
    const other = await keyJson();
    const changes: [string, (copy: Json) => void, string][] = [
      ['format', (copy) => Object.assign(copy, { format: 'holdfast-key-2' }), 'key-file-malformed'],
      ['role to root', (copy) => Object.assign(copy, { role: 'root' }), 'passphrase-wrong'],
      ['role to author', (copy) => Object.assign(copy, { role: 'author' }), 'key-file-malformed'],
      ['person', (copy) => Object.assign(copy, { person: 'person-2' }), 'passphrase-wrong'],
      ['keyId', (copy) => Object.assign(copy, { keyId: other.keyId }), 'key-file-malformed'],
      ['algorithm', (copy) => Object.assign(copy, { algorithm: 'esp256' }), 'key-file-malformed'],
      ['publicKey', (copy) => Object.assign(copy, { publicKey: other.publicKey }), 'key-file-malformed'],
      [
        'publicKey with its id',
        (copy) => Object.assign(copy, { publicKey: other.publicKey, keyId: other.keyId }),
        'passphrase-wrong',
      ],
      ['kdf.name', (copy) => Object.assign(copy.kdf as Json, { name: 'argon2id' }), 'key-file-malformed'],
      ['kdf.N', (copy) => Object.assign(copy.kdf as Json, { N: 32 }), 'passphrase-wrong'],
      ['kdf.N, no power of two', (copy) => Object.assign(copy.kdf as Json, { N: 24 }), 'key-file-malformed'],
      ['kdf.N beyond the cap', (copy) => Object.assign(copy.kdf as Json, { N: 2 ** 30 }), 'key-file-malformed'],
      ['kdf.r', (copy) => Object.assign(copy.kdf as Json, { r: 4 }), 'passphrase-wrong'],
      ['kdf.p', (copy) => Object.assign(copy.kdf as Json, { p: 2 }), 'passphrase-wrong'],
      ['kdf.salt', (copy) => Object.assign(copy.kdf as Json, { salt: (other.kdf as Json).salt }), 'passphrase-wrong'],
      ['cipher.name', (copy) => Object.assign(copy.cipher as Json, { name: 'none' }), 'key-file-malformed'],
      ['cipher.nonce', (copy) => Object.assign(copy.cipher as Json, { nonce: '00'.repeat(12) }), 'passphrase-wrong'],
      ['ciphertext', (copy) => Object.assign(copy, { ciphertext: other.ciphertext }), 'passphrase-wrong'],
      [
        'ciphertext cut',
        (copy) => Object.assign(copy, { ciphertext: String(copy.ciphertext).slice(2) }),
        'key-file-malformed',
      ],
      ['a field more', (copy) => Object.assign(copy, { note: 'x' }), 'key-file-malformed'],
    ];
    for (const [name, change, expected] of changes) {
      const copy = structuredClone(json);
      change(copy);
      expect([name, await faultCode(() => open(copy))]).toEqual([name, expected]);
    }
    expect(await faultCode(() => open(json))).toBe('no fault');
  });

  it.each([
    ['nothing', ''],
    ['garbage', '\u0000\u0001\u0002'],
    ['an OpenSSH key', '-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA'],
    ['JSON of something else', '{"keytype":"ed25519"}'],
    ['a key twice', '{"format":"holdfast-key-1","format":"holdfast-key-1"}'],
    ['a list', '[]'],
    ['too much', ' '.repeat(20_000)],
  ])('refuses %s as a key file', async (_name, text) => {
    expect(await faultCode(() => decodeKeyFile(new TextEncoder().encode(text)))).toBe('key-file-malformed');
  });
});

describe('signing keys', () => {
  it('refuse halves that do not belong together', () => {
    const one = generateRawKey('ed25519');
    expect(softwareKey('tuf', { ...one, publicKey: generateRawKey('ed25519').publicKey })).toBeUndefined();
    expect(
      softwareKey('author', { ...generateRawKey('esp256'), publicKey: generateRawKey('esp256').publicKey }),
    ).toBeUndefined();
    expect(softwareKey('tuf', one)?.publicKey).toEqual(one.publicKey);
  });

  it('show nothing secret when they are rendered', () => {
    const key = ephemeralKey('tuf');
    expect(Object.keys(JSON.parse(JSON.stringify(key))).sort()).toEqual(['algorithm', 'keyId', 'publicKey']);
  });
});

describe('passphrases', () => {
  it('are the first line, whatever ends it, and are wiped in place', () => {
    for (const text of ['twelve chars!', 'twelve chars!\n', 'twelve chars!\r\n', 'twelve chars!\nsecond line']) {
      const buffer = new TextEncoder().encode(text);
      const phrase = new Passphrase(buffer);
      expect(new TextDecoder().decode(phrase.bytes())).toBe('twelve chars!');
      phrase.wipe();
      expect(buffer.every((byte) => byte === 0)).toBe(true);
      expect(phrase.bytes().every((byte) => byte === 0)).toBe(true);
    }
  });

  it('do not show themselves', () => {
    expect(JSON.stringify({ phrase: passphrase() })).not.toContain('horse');
  });

  it('must be long enough where keys are made', async () => {
    expect(await faultCode(() => demandStrength(passphrase('short')))).toBe('passphrase-too-short');
    expect(await faultCode(() => demandStrength(passphrase('long enough!')))).toBe('no fault');
  });
});
