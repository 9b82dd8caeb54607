/**
 * Opening what a device sealed, with one owner's key; and handing the content key on to further owners.
 *
 * Order of checks: the device's signature where its key is known, device and epoch where they are expected, then the
 * sealed key, its commitment, the content. A refusal says which; none says anything of a secret.
 * May not: print, log or write what it opens. Keys and plaintext bytes are wiped before it returns.
 */
import { type HpkeKeyPair, hpkeOpen, hpkeSeal } from '../platform/hpke.ts';
import { openOnce } from '../platform/one-time-cipher.ts';
import {
  commitmentOf,
  ESCROW_MAX_OWNERS,
  escrowKeyBinding,
  ownerIdOf,
  type SealedKey,
  verifyEscrowSignature,
} from '../protocol/escrow.ts';
import { type EscrowRefusal, refuseEscrow } from '../protocol/escrow-codes.ts';
import { type EscrowFile, encodeResealed } from '../protocol/escrow-resealed.ts';
import { decodeEscrowSecrets } from '../protocol/escrow-secrets.ts';
import { equalBytes, hex } from '../trust/bytes.ts';

export interface EscrowExpectation {
  readonly deviceId?: string;
  readonly epoch?: number;
  /** The device's P-256 key, 65 bytes: without it nothing says who sealed this. */
  readonly devicePublicKey?: Uint8Array;
}

type Opened =
  | { readonly ok: true; readonly secrets: readonly { readonly name: string; readonly text: string }[] }
  | EscrowRefusal;

/** What can be checked without an owner's key. Undefined: nothing is wrong with it. */
export function checkEscrow({ blob }: EscrowFile, expected: EscrowExpectation): EscrowRefusal | undefined {
  const { devicePublicKey, deviceId = blob.deviceId, epoch = blob.epoch } = expected;
  if (devicePublicKey !== undefined && !verifyEscrowSignature(blob, devicePublicKey)) {
    return refuseEscrow('escrow-signature-invalid', 'altered, or signed by another device');
  }
  if (deviceId !== blob.deviceId) {
    return refuseEscrow('escrow-other-device', `it says ${blob.deviceId}, and ${deviceId} was expected`);
  }
  if (epoch !== blob.epoch) {
    return refuseEscrow('escrow-other-epoch', `it says epoch ${blob.epoch}, and ${epoch} was expected`);
  }
  return undefined;
}

/** The secrets, or why not. */
export async function openEscrow(
  file: EscrowFile,
  owner: HpkeKeyPair,
  expected: EscrowExpectation = {},
): Promise<Opened> {
  const wrong = checkEscrow(file, expected);
  if (wrong !== undefined) return wrong;
  const contentKey = await openContentKey(file, owner);
  if (!(contentKey instanceof Uint8Array)) return contentKey;
  try {
    return openContent(file, contentKey);
  } finally {
    contentKey.fill(0);
  }
}

async function openContentKey({ blob, added }: EscrowFile, owner: HpkeKeyPair): Promise<Uint8Array | EscrowRefusal> {
  const id = ownerIdOf(owner.publicKey);
  const sealed = [...blob.keys, ...added].filter((key) => equalBytes(key.owner, id));
  if (sealed.length === 0) return refuseEscrow('escrow-not-an-owner', `no key in it is for ${hex(id)}`);
  for (const message of sealed) {
    const key = await hpkeOpen(owner, escrowKeyBinding(blob), message);
    if (key !== undefined && equalBytes(commitmentOf(key), blob.commitment)) return key;
    key?.fill(0);
  }
  return refuseEscrow('escrow-altered', 'the key in it that is for this owner does not open');
}

function openContent({ blob }: EscrowFile, contentKey: Uint8Array): Opened {
  const plaintext = openOnce(contentKey, blob.content, blob.head);
  if (plaintext === undefined) return refuseEscrow('escrow-altered', 'the secrets in it do not open');
  const decoded = decodeEscrowSecrets(plaintext);
  plaintext.fill(0);
  return decoded.ok ? decoded : refuseEscrow('escrow-altered', 'what opened are no secrets');
}

/**
 * The blob as its device signed it, with its content key sealed to `owners` too: for a device that is away while its
 * owners change. Checked like an opening, because what cannot be read is not worth handing on.
 */
export async function resealEscrow(
  file: EscrowFile,
  opener: HpkeKeyPair,
  owners: readonly Uint8Array[],
  expected: EscrowExpectation = {},
): Promise<{ readonly ok: true; readonly bytes: Uint8Array } | EscrowRefusal> {
  if (owners.length < 1 || owners.length > ESCROW_MAX_OWNERS) {
    return refuseEscrow('escrow-too-many-owners', `${owners.length} owners, from 1 to ${ESCROW_MAX_OWNERS}`);
  }
  const opened = await openEscrow(file, opener, expected);
  if (!opened.ok) return opened;
  const contentKey = await openContentKey(file, opener);
  if (!(contentKey instanceof Uint8Array)) return contentKey;
  try {
    const added: SealedKey[] = [];
    for (const owner of owners) {
      const sealed = await hpkeSeal(owner, escrowKeyBinding(file.blob), contentKey);
      added.push({ owner: ownerIdOf(owner), ...sealed });
    }
    return { ok: true, bytes: encodeResealed(file.blobBytes, added) };
  } finally {
    contentKey.fill(0);
  }
}
