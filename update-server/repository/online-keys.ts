/**
 * The two keys that the server signs with by itself: snapshot and timestamp. At rest only sealed; opened at start with
 * the sealing key, never with a passphrase, so that a server which restarts at night goes on renewing its timestamp.
 * They can sign nothing that a device would install.
 */
import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import * as v from 'valibot';
import { EXIT, Fault } from '../../platform/fault.ts';
import { openSealed } from '../../platform/sealed-file.ts';
import { hex, unhex } from '../../trust/bytes.ts';
import {
  encodeMetadata,
  type Root,
  type Snapshot,
  signedBytes,
  type Timestamp,
  tufKeyId,
  tufKeyOf,
} from '../../trust/tuf/metadata.ts';

export const ONLINE_KEYS_CONTEXT = 'holdfast online keys 1';
/** PKCS#8 of an Ed25519 private key is this prefix and the 32-byte seed (RFC 8410 §7). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const SPKI_PREFIX_BYTES = 12;

const Key = v.strictObject({
  publicKey: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  privateKey: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
});
const OnlineKeysFile = v.strictObject({ snapshot: Key, timestamp: Key });

interface OnlineKey {
  readonly keyId: string;
  readonly key: KeyObject;
}

export class OnlineKeys {
  readonly #keys: { readonly snapshot: OnlineKey; readonly timestamp: OnlineKey };

  private constructor(snapshot: OnlineKey, timestamp: OnlineKey) {
    this.#keys = { snapshot, timestamp };
  }

  /** Opens the sealed file's bytes. Faults: `sealing-key-wrong`, `sealed-file-malformed`, `online-keys-malformed`. */
  static open(sealingKey: Uint8Array, sealed: Uint8Array, where: string): OnlineKeys {
    const plaintext = openSealed(sealingKey, sealed, ONLINE_KEYS_CONTEXT);
    try {
      const parsed = v.parse(OnlineKeysFile, JSON.parse(Buffer.from(plaintext).toString('utf8')));
      return new OnlineKeys(openKey(parsed.snapshot), openKey(parsed.timestamp));
    } catch {
      throw new Fault({
        code: 'online-keys-malformed',
        what: 'what was sealed is not a pair of online keys',
        where,
        cure: 'Use the file online-keys.sealed that `holdfast keys init` made in the server folder.',
        exitStatus: EXIT.input,
      });
    }
  }

  /** In words which role of this root the keys cannot sign, or undefined when they can sign both. */
  missingIn(root: Root): string | undefined {
    for (const role of ['snapshot', 'timestamp'] as const) {
      const named = root.roles[role];
      if (!named.keyids.includes(this.#keys[role].keyId)) return `root ${root.version} names other keys for ${role}`;
      if (named.threshold !== 1) return `root ${root.version} wants ${named.threshold} signatures for ${role}`;
    }
    return undefined;
  }

  /** The metadata file, signed by its role's key. */
  sign(signed: Snapshot | Timestamp): Uint8Array {
    const { key, keyId } = this.#keys[signed._type];
    const signature = sign(null, signedBytes(signed), key);
    return encodeMetadata(signed, [{ keyid: keyId, sig: hex(signature) }]);
  }
}

function openKey(stored: v.InferOutput<typeof Key>): OnlineKey {
  const der = Buffer.concat([PKCS8_PREFIX, Buffer.from(stored.privateKey, 'hex')]);
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const publicKey = createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(SPKI_PREFIX_BYTES);
  const named = unhex(stored.publicKey);
  if (named === undefined || !publicKey.equals(named)) throw new Error('the public key is not that of the private key');
  return { key, keyId: tufKeyId(tufKeyOf(Uint8Array.from(publicKey))) };
}
