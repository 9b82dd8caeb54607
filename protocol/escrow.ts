/**
 * `holdfast-escrow-1`: the sealed blob in which a device leaves what its owner may need one day. Bytes in, facts out;
 * the layout stands in docs/FORMATS.md. Shared by the device, which makes it, the server, which keeps it, and the
 * tools, which open it.
 *
 * A fresh content key encrypts the secrets once; that key is sealed to each owner by HPKE. The device signs the whole.
 *
 * Invariants: one blob has one spelling (owners sorted, no field optional, nothing after the end). Lengths are checked
 * before anything is taken out. All that stands before the content is authenticated with the content, so that an owner
 * who has no key of the device still notices a change anywhere but in the signature.
 * May not: encrypt, decrypt, or hold a secret.
 */
import { concat, hex, utf8 } from '../trust/bytes.ts';
import { P256_POINT_BYTES, sha256, verifyP256 } from '../trust/crypto.ts';
import { ByteReader, unsignedBytes } from './byte-reader.ts';
import { ESCROW_CAP_BYTES } from './credentials.ts';
import { type EscrowRefusal, refuseEscrow } from './escrow-codes.ts';
import { ESCROW_PLAINTEXT_STEP_BYTES } from './escrow-secrets.ts';

export const ESCROW_MAX_OWNERS = 16;
const CONTENT_KEY_BYTES = 32;
const TAG_BYTES = 16;
const ENCAPSULATED_BYTES = 32;
const OWNER_ID_BYTES = 32;
const COMMITMENT_BYTES = 32;
const SIGNATURE_BYTES = 64;
const SEALED_KEY_BYTES = CONTENT_KEY_BYTES + TAG_BYTES;
const MAGIC = utf8('HFES\x01');
const DEVICE_ID = /^[a-z0-9][a-z0-9._-]{0,63}$/;

const KEY_CONTEXT = utf8('holdfast-escrow-1 key\0');
const COMMITMENT_CONTEXT = utf8('holdfast-escrow-1 commitment\0');
const BLOB_CONTEXT = utf8('holdfast-escrow-1 blob\0');

export interface EscrowBinding {
  readonly deviceId: string;
  /** From 1: epoch 0 is the factory's, and has nothing of its own. */
  readonly epoch: number;
}

/** The content key, for one owner. */
export interface SealedKey {
  /** SHA-256 of the owner's public key. */
  readonly owner: Uint8Array;
  readonly encapsulated: Uint8Array;
  readonly ciphertext: Uint8Array;
}

export interface EscrowHead extends EscrowBinding {
  /** See `commitmentOf`. */
  readonly commitment: Uint8Array;
  readonly keys: readonly SealedKey[];
}

/** Of the right shape, and nothing more: no signature was looked at. */
export interface EscrowBlob extends EscrowHead {
  /** Everything before the content: the content's associated data. */
  readonly head: Uint8Array;
  readonly content: Uint8Array;
  /** Everything before the signature. */
  readonly body: Uint8Array;
  readonly signature: Uint8Array;
}

/** The id under which an owner stands in blobs and reports. */
export function ownerIdOf(publicKey: Uint8Array): Uint8Array {
  return sha256(publicKey);
}

/** What HPKE binds a sealed content key to, as `info` and as associated data: this purpose, device and epoch. */
export function escrowKeyBinding({ deviceId, epoch }: EscrowBinding): { info: Uint8Array; aad: Uint8Array } {
  const id = utf8(deviceId);
  const bound = concat(KEY_CONTEXT, unsignedBytes(id.length, 1), id, unsignedBytes(epoch, 8));
  return { info: bound, aad: bound };
}

/**
 * AES-GCM alone does not commit to its key: whoever chooses two keys can make one ciphertext that opens under both. The
 * signed blob therefore names the key by its digest, and every owner opens the same secrets or none.
 */
export function commitmentOf(contentKey: Uint8Array): Uint8Array {
  return sha256(concat(COMMITMENT_CONTEXT, contentKey));
}

/** Their number in one byte, then each, sorted by owner. */
export function encodeSealedKeys(keys: readonly SealedKey[]): Uint8Array {
  if (keys.length < 1 || keys.length > ESCROW_MAX_OWNERS) throw new RangeError('no number of owners');
  const sorted = [...keys].sort((a, b) => (hex(a.owner) < hex(b.owner) ? -1 : 1));
  const parts = sorted.flatMap(({ owner, encapsulated, ciphertext }) => [owner, encapsulated, ciphertext]);
  return concat(unsignedBytes(keys.length, 1), ...parts);
}

/** Undefined when they are none or too many, end too early, are not sorted, or when an owner stands there twice. */
export function takeSealedKeys(reader: ByteReader): readonly SealedKey[] | undefined {
  const count = reader.unsigned(1) ?? 0;
  if (count < 1 || count > ESCROW_MAX_OWNERS) return undefined;
  const keys: SealedKey[] = [];
  for (let index = 0; index < count; index += 1) {
    const owner = reader.take(OWNER_ID_BYTES);
    const encapsulated = reader.take(ENCAPSULATED_BYTES);
    const ciphertext = reader.take(SEALED_KEY_BYTES);
    if (owner === undefined || encapsulated === undefined || ciphertext === undefined) return undefined;
    const before = keys.at(-1);
    if (before !== undefined && hex(owner) <= hex(before.owner)) return undefined;
    keys.push({ owner, encapsulated, ciphertext });
  }
  return keys;
}

/** Everything before the content. `contentBytes` with the tag. The caller's facts are checked: they are ours. */
export function encodeEscrowHead(facts: EscrowHead, contentBytes: number): Uint8Array {
  const id = utf8(facts.deviceId);
  if (!DEVICE_ID.test(facts.deviceId)) throw new RangeError('no device id');
  if (!Number.isSafeInteger(facts.epoch) || facts.epoch < 1) throw new RangeError('no epoch');
  return concat(
    MAGIC,
    unsignedBytes(id.length, 1),
    id,
    unsignedBytes(facts.epoch, 8),
    facts.commitment,
    encodeSealedKeys(facts.keys),
    unsignedBytes(contentBytes, 4),
  );
}

/** The bytes that the device's signature covers (ECDSA P-256 with SHA-256, r ‖ s). */
export function escrowMessage(body: Uint8Array): Uint8Array {
  return concat(BLOB_CONTEXT, body);
}

/** Does the signature fit? `devicePublicKey` is the uncompressed point, 65 bytes. */
export function verifyEscrowSignature(blob: EscrowBlob, devicePublicKey: Uint8Array): boolean {
  if (devicePublicKey.length !== P256_POINT_BYTES) return false;
  return verifyP256(devicePublicKey, escrowMessage(blob.body), blob.signature);
}

type DecodedEscrow = { readonly ok: true; readonly blob: EscrowBlob } | EscrowRefusal;

const malformed = (detail: string): EscrowRefusal => refuseEscrow('escrow-malformed', detail);

/** Strict: `escrow-malformed` for anything that `encodeEscrowHead`, a content and a signature would not have made. */
export function decodeEscrow(bytes: Uint8Array): DecodedEscrow {
  if (bytes.length > ESCROW_CAP_BYTES) return malformed(`${bytes.length} bytes, at most ${ESCROW_CAP_BYTES}`);
  const reader = new ByteReader(bytes);
  const magic = reader.take(MAGIC.length);
  if (magic === undefined || hex(magic) !== hex(MAGIC)) return malformed('it does not begin as one');
  const id = reader.take(reader.unsigned(1) ?? 0);
  const deviceId = String.fromCharCode(...(id ?? []));
  if (!DEVICE_ID.test(deviceId)) return malformed('the device id is none');
  const epoch = reader.unsigned(8) ?? 0;
  if (epoch < 1) return malformed('the epoch is none');
  const commitment = reader.take(COMMITMENT_BYTES);
  const keys = takeSealedKeys(reader);
  if (commitment === undefined || keys === undefined) return malformed('its owners are not listed as they must be');
  const contentBytes = reader.unsigned(4) ?? 0;
  const head = bytes.slice(0, reader.at);
  const padded = contentBytes - TAG_BYTES;
  if (padded <= 0 || padded % ESCROW_PLAINTEXT_STEP_BYTES !== 0) return malformed('the content has no padded length');
  const content = reader.take(contentBytes);
  const body = bytes.slice(0, reader.at);
  const signature = reader.take(SIGNATURE_BYTES);
  if (content === undefined || signature === undefined || reader.left > 0) return malformed('it has another length');
  return { ok: true, blob: { deviceId, epoch, commitment, keys, head, content, body, signature } };
}
