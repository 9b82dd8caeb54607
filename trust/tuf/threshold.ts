/**
 * Who signed, and is it enough?
 *
 * Invariants: a key counts once, whatever number of signatures or ids it has (TUF §4.2.1, and CVE-2020-6174 of others).
 * Only keys that the root lists for that very role count. Unknown signers neither help nor hurt.
 */
import { unhex, type Verified } from '../bytes.ts';
import { accept, refuse, type Verdict } from '../refusal.ts';
import { verifyEd25519 } from '../signature.ts';
import { markVerified } from '../verified.ts';
import type { RoleName, Root, Signed } from './roles.ts';

/** Who signed a file, by key id: for verdicts, and for telling a person which signatures are still missing. */
export interface SignatureTally {
  readonly threshold: number;
  /** Key ids whose signature verifies, one per different key. */
  readonly valid: readonly string[];
  /** Key ids of the role whose signature does not verify. */
  readonly invalid: readonly string[];
  /** Key ids that signed and are none of the role's. */
  readonly unknown: readonly string[];
  /** Key ids that stand in the list of signatures more than once. */
  readonly repeated: readonly string[];
}

export type RoleAuthority = Pick<Root, 'keys' | 'roles'>;

export function tallySignatures(root: RoleAuthority, role: RoleName, file: Signed<unknown>): SignatureTally {
  const { keyids, threshold } = root.roles[role];
  const valid = new Map<string, string>();
  const invalid: string[] = [];
  const unknown: string[] = [];
  const repeated: string[] = [];
  const seen = new Set<string>();
  for (const { keyid, sig } of file.signatures) {
    if (seen.has(keyid)) {
      repeated.push(keyid);
      continue;
    }
    seen.add(keyid);
    const key = keyids.includes(keyid) && Object.hasOwn(root.keys, keyid) ? root.keys[keyid] : undefined;
    if (key === undefined) {
      unknown.push(keyid);
      continue;
    }
    const publicKey = key.keytype === 'ed25519' && key.scheme === 'ed25519' ? unhex(key.keyval.public) : undefined;
    const signature = unhex(sig);
    const verifies =
      publicKey !== undefined && signature !== undefined && verifyEd25519(publicKey, file.signedBytes, signature);
    if (!verifies) invalid.push(keyid);
    else if (!valid.has(key.keyval.public)) valid.set(key.keyval.public, keyid);
  }
  return { threshold, valid: [...valid.values()], invalid, unknown, repeated };
}

/**
 * `metadata-signature-invalid` when the threshold is missed and a known key's signature does not verify,
 * `metadata-threshold-not-met` when it is missed for lack of signatures, `json-malformed` when it is met and a key id
 * signs twice all the same (TUF §4.2.1 forbids it).
 */
export function verifyThreshold<T>(root: RoleAuthority, role: RoleName, file: Signed<T>): Verdict<Verified<T>> {
  const tally = tallySignatures(root, role, file);
  if (tally.valid.length < tally.threshold) {
    if (tally.invalid.length > 0) {
      return refuse(
        'metadata-signature-invalid',
        `${role}: the signature of ${shortly(tally.invalid)} does not verify`,
      );
    }
    const strangers = tally.unknown.length > 0 ? `; unknown to this role: ${shortly(tally.unknown)}` : '';
    return refuse(
      'metadata-threshold-not-met',
      `${role}: ${tally.valid.length} of ${tally.threshold} keys${strangers}`,
    );
  }
  if (tally.repeated.length > 0) return refuse('json-malformed', `${role}: ${shortly(tally.repeated)} signs twice`);
  return accept(markVerified(file.signed));
}

function shortly(keyIds: readonly string[]): string {
  return keyIds.map((keyId) => keyId.slice(0, 16)).join(', ');
}
