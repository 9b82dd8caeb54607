/**
 * RFC 9180 base mode with DHKEM(X25519, HKDF-SHA256) and HKDF-SHA256, written again from its text with node:crypto and
 * nothing of the library: opens what the library sealed, under any of the three AEADs. Held to the RFC's own vectors.
 */
import {
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  type KeyObject,
} from 'node:crypto';

const AEADS = {
  1: { name: 'aes-128-gcm', keyBytes: 16 },
  2: { name: 'aes-256-gcm', keyBytes: 32 },
  3: { name: 'chacha20-poly1305', keyBytes: 32 },
} as const;

export interface Sealed {
  readonly aead: keyof typeof AEADS;
  readonly enc: Uint8Array;
  readonly ciphertext: Uint8Array;
  readonly info: Uint8Array;
  readonly aad: Uint8Array;
}

const bytes = (...parts: (string | Uint8Array)[]): Buffer =>
  Buffer.concat(parts.map((part) => Buffer.from(part as string)));
const hmac = (key: Uint8Array, data: Uint8Array): Buffer => createHmac('sha256', key).update(data).digest();
const two = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);

const extract = (suite: Uint8Array, salt: Uint8Array, label: string, ikm: Uint8Array): Buffer =>
  hmac(salt.length === 0 ? Buffer.alloc(32) : salt, bytes('HPKE-v1', suite, label, ikm));

function expand(suite: Uint8Array, key: Uint8Array, label: string, info: Uint8Array, length: number): Buffer {
  const labelled = bytes(two(length), 'HPKE-v1', suite, label, info);
  let out: Buffer = Buffer.alloc(0);
  for (let round = 1, last: Buffer = Buffer.alloc(0); out.length < length; round += 1) {
    last = hmac(key, bytes(last, labelled, Buffer.from([round])));
    out = Buffer.concat([out, last]);
  }
  return out.subarray(0, length);
}

const publicKeyOf = (raw: Uint8Array): KeyObject =>
  createPublicKey({ key: bytes(Buffer.from('302a300506032b656e032100', 'hex'), raw), format: 'der', type: 'spki' });

/** Throws when it does not open. */
export function openByTheBook(secret: Uint8Array, sealed: Sealed): Uint8Array {
  const der = bytes(Buffer.from('302e020100300506032b656e04220420', 'hex'), secret);
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const own = createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(-32);
  const kem = bytes('KEM', two(0x20));
  const dh = diffieHellman({ privateKey, publicKey: publicKeyOf(sealed.enc) });
  const shared = expand(kem, extract(kem, Buffer.alloc(0), 'eae_prk', dh), 'shared_secret', bytes(sealed.enc, own), 32);
  const { name, keyBytes } = AEADS[sealed.aead];
  const suite = bytes('HPKE', two(0x20), two(1), two(sealed.aead));
  const none = Buffer.alloc(0);
  const context = bytes(
    Buffer.from([0]),
    extract(suite, none, 'psk_id_hash', none),
    extract(suite, none, 'info_hash', sealed.info),
  );
  const root = extract(suite, shared, 'secret', none);
  const key = expand(suite, root, 'key', context, keyBytes);
  const nonce = expand(suite, root, 'base_nonce', context, 12);
  const tagAt = sealed.ciphertext.length - 16;
  const decipher = createDecipheriv(name as 'aes-128-gcm', key, nonce, { authTagLength: 16 });
  decipher.setAAD(sealed.aad, { plaintextLength: tagAt }).setAuthTag(sealed.ciphertext.subarray(tagAt));
  return Buffer.concat([decipher.update(sealed.ciphertext.subarray(0, tagAt)), decipher.final()]);
}
