/**
 * The one door to HPKE (RFC 9180): base mode, one message to one key. DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
 * AES-256-GCM: what the Web Cryptography of Node 22.15 and 24 computes natively (docs/adr/0022-escrow.md).
 *
 * Knows nothing of what it seals. May not log, or keep, a key or a plaintext.
 */
import {
  AEAD_AES_256_GCM,
  CipherSuite,
  DecapError,
  DeserializeError,
  KDF_HKDF_SHA256,
  KEM_DHKEM_X25519_HKDF_SHA256,
  OpenError,
} from 'hpke';

export interface HpkeMessage {
  /** The ephemeral public key. */
  readonly encapsulated: Uint8Array;
  readonly ciphertext: Uint8Array;
}

/** What both sides must agree on: goes into the key schedule (`info`) and beside the ciphertext (`aad`). */
export interface HpkeBinding {
  readonly info: Uint8Array;
  readonly aad: Uint8Array;
}

const suite = new CipherSuite(KEM_DHKEM_X25519_HKDF_SHA256, KDF_HKDF_SHA256, AEAD_AES_256_GCM);

/** Seals to a raw public key of 32 bytes. Throws for a key of low order: callers refuse those before. */
export async function hpkeSeal(
  publicKey: Uint8Array,
  binding: HpkeBinding,
  plaintext: Uint8Array,
): Promise<HpkeMessage> {
  const recipient = await suite.DeserializePublicKey(publicKey);
  const { encapsulatedSecret, ciphertext } = await suite.Seal(recipient, plaintext, binding);
  return { encapsulated: encapsulatedSecret, ciphertext };
}

/** Raw, 32 bytes each. Both halves, because Web Cryptography gives the public one of a private key only as an experiment. */
export interface HpkeKeyPair {
  readonly publicKey: Uint8Array;
  readonly privateKey: Uint8Array;
}

/** Undefined for another key, another binding, or altered bytes; also when the two halves do not belong together. */
export async function hpkeOpen(
  pair: HpkeKeyPair,
  binding: HpkeBinding,
  message: HpkeMessage,
): Promise<Uint8Array | undefined> {
  const publicKey = await suite.DeserializePublicKey(pair.publicKey);
  const privateKey = await suite.DeserializePrivateKey(pair.privateKey);
  try {
    return await suite.Open({ publicKey, privateKey }, message.encapsulated, message.ciphertext, binding);
  } catch (error) {
    if (error instanceof OpenError || error instanceof DecapError || error instanceof DeserializeError)
      return undefined;
    throw error;
  }
}
