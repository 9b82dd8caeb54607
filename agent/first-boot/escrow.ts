/**
 * The device's half of the escrow: seals what owners may need one day to each owner key, for this device and epoch, and
 * signs the blob with the device's key. Format: protocol/escrow.ts.
 *
 * Invariants: a blob that leaves here was read back by the strict decoder, and its signature verified. What cannot be
 * sealed is a value, never a blob with fewer owners. The plaintext and the content key are wiped before this returns
 * (the texts came as strings, which nobody can wipe).
 * May not: write anywhere; keep a secret; log.
 */
import { createPublicKey, type KeyObject, sign } from 'node:crypto';
import { type HpkeMessage, hpkeSeal } from '../../platform/hpke.ts';
import { makeOneTimeKey, ONE_TIME_TAG_BYTES, sealOnce } from '../../platform/one-time-cipher.ts';
import {
  commitmentOf,
  decodeEscrow,
  ESCROW_MAX_OWNERS,
  type EscrowBinding,
  encodeEscrowHead,
  escrowKeyBinding,
  escrowMessage,
  ownerIdOf,
  type SealedKey,
  verifyEscrowSignature,
} from '../../protocol/escrow.ts';
import { type EscrowRefusal, refuseEscrow } from '../../protocol/escrow-codes.ts';
import { encodeEscrowSecrets } from '../../protocol/escrow-secrets.ts';
import { concat, hex } from '../../trust/bytes.ts';
import { isX25519PublicKey } from '../../trust/x25519.ts';
import type { Escrow, EscrowedSecret } from '../core/first-boot-ports.ts';

/** With one owner alone, one lost key would be every lost device. */
export const OWNERS_AT_LEAST = 2;
const P256_SPKI_POINT_BYTES = 65;

export interface OwnerEscrowFacts {
  /** Raw X25519 public keys, 32 bytes each, from the signed root or the factory image and from nowhere else. */
  readonly ownerKeys: readonly Uint8Array[];
  /** Default 2. */
  readonly atLeast?: number;
  /** The device's P-256 key; undefined while there is none. Asked for at each seal, because a rotation may replace it. */
  readonly deviceKey: () => Promise<KeyObject | undefined>;
}

type Sealed = { readonly ok: true; readonly blob: Uint8Array; readonly owners: readonly string[] } | EscrowRefusal;

export class OwnerEscrow implements Escrow {
  readonly #ownerKeys: readonly Uint8Array[];
  readonly #atLeast: number;
  readonly #deviceKey: () => Promise<KeyObject | undefined>;

  constructor({ ownerKeys, atLeast = OWNERS_AT_LEAST, deviceKey }: OwnerEscrowFacts) {
    this.#ownerKeys = ownerKeys.map((key) => Uint8Array.from(key));
    this.#atLeast = atLeast;
    this.#deviceKey = deviceKey;
  }

  /** Refuses with a code of protocol/escrow-codes.ts. Throws what reading the device's key throws. */
  async seal(secrets: readonly EscrowedSecret[], binding: EscrowBinding): Promise<Sealed> {
    const owners = this.#refuseOwners();
    if (owners !== undefined) return owners;
    const deviceKey = await this.#deviceKey();
    if (deviceKey === undefined) return refuseEscrow('device-key-missing', 'nothing can be signed before it is made');
    const plaintext = encodeEscrowSecrets(secrets);
    if (!plaintext.ok) return plaintext;
    const contentKey = makeOneTimeKey();
    try {
      const body = await this.#sealBody(plaintext.bytes, contentKey, binding);
      const signature = sign('sha256', escrowMessage(body), { key: deviceKey, dsaEncoding: 'ieee-p1363' });
      const blob = concat(body, signature);
      assertReadable(blob, deviceKey);
      return { ok: true, blob, owners: this.#ownerKeys.map((key) => hex(ownerIdOf(key))).sort() };
    } finally {
      contentKey.fill(0);
      plaintext.bytes.fill(0);
    }
  }

  #refuseOwners(): EscrowRefusal | undefined {
    const keys = this.#ownerKeys;
    if (keys.length < this.#atLeast) {
      return refuseEscrow('escrow-too-few-owners', `${keys.length} owner keys, and it takes ${this.#atLeast}`);
    }
    if (keys.length > ESCROW_MAX_OWNERS) {
      return refuseEscrow('escrow-too-many-owners', `${keys.length} owner keys, at most ${ESCROW_MAX_OWNERS}`);
    }
    const wrong = keys.findIndex((key) => !isX25519PublicKey(key));
    if (wrong !== -1) return refuseEscrow('escrow-owner-key-wrong', `owner key ${wrong + 1} is no X25519 key`);
    if (new Set(keys.map(hex)).size === keys.length) return undefined;
    return refuseEscrow('escrow-owner-key-wrong', 'an owner key stands there twice');
  }

  async #sealBody(plaintext: Uint8Array, contentKey: Uint8Array, binding: EscrowBinding): Promise<Uint8Array> {
    const keys: SealedKey[] = [];
    for (const key of this.#ownerKeys) {
      const sealed: HpkeMessage = await hpkeSeal(key, escrowKeyBinding(binding), contentKey);
      keys.push({ owner: ownerIdOf(key), ...sealed });
    }
    const facts = { deviceId: binding.deviceId, epoch: binding.epoch, commitment: commitmentOf(contentKey), keys };
    const head = encodeEscrowHead(facts, plaintext.length + ONE_TIME_TAG_BYTES);
    return concat(head, sealOnce(contentKey, plaintext, head));
  }
}

/** What this device could not read back, its owner could not either: a bug, and nothing may be applied after it. */
function assertReadable(blob: Uint8Array, deviceKey: KeyObject): void {
  const spki = createPublicKey(deviceKey).export({ format: 'der', type: 'spki' });
  const point = Uint8Array.from(spki.subarray(spki.length - P256_SPKI_POINT_BYTES));
  const decoded = decodeEscrow(blob);
  if (!decoded.ok) throw new Error(`the device's own escrow blob is refused: ${decoded.code}: ${decoded.detail}`);
  if (!verifyEscrowSignature(decoded.blob, point)) throw new Error("the device's own escrow signature does not verify");
}
