/**
 * One step of the root chain (TUF 5.3.4 to 5.3.6), and the environment that a root is for.
 *
 * Invariants: a next root is exactly one version on and signed by a threshold of both old and new keys. A root for
 * another environment is refused before it is stored: a device must not be moved to a lab by mistake of its makers.
 */
import type { Verified } from '../bytes.ts';
import { accept, refuse, type Verdict } from '../refusal.ts';
import { type CanonicalForm, decodeMetadata, type Environment, type Root, verifyThreshold } from './metadata.ts';

export interface RootDemands {
  readonly canonicalForm: CanonicalForm;
  /** Absent: any. */
  readonly environment?: Environment;
}

/** `root-chain-broken` for a missing threshold or a wrong version, `environment-mismatch`, or a decoding refusal. */
export function verifyRootStep(current: Root, bytes: Uint8Array, demands: RootDemands): Verdict<Verified<Root>> {
  const file = decodeMetadata('root', bytes, demands);
  if (!file.ok) return file;
  // 5.3.4: (1) a threshold of the trusted root's keys, (2) a threshold of the new root's own keys.
  const byOld = verifyThreshold(current, 'root', file.value);
  if (!byOld.ok) return refuse('root-chain-broken', `by the keys of root ${current.version}: ${byOld.detail}`);
  const byNew = verifyThreshold(file.value.signed, 'root', file.value);
  if (!byNew.ok) return refuse('root-chain-broken', `by its own keys: ${byNew.detail}`);
  // 5.3.5
  if (byNew.value.version !== current.version + 1) {
    return refuse('root-chain-broken', `root ${byNew.value.version} where ${current.version + 1} is due`);
  }
  return checkEnvironment(byNew.value, demands);
}

/** A root as one begins from: signed by its own threshold. Its trust comes from its place, not from this. */
export function verifyOwnRoot(bytes: Uint8Array, demands: RootDemands): Verdict<Verified<Root>> {
  const file = decodeMetadata('root', bytes, demands);
  if (!file.ok) return file;
  const root = verifyThreshold(file.value.signed, 'root', file.value);
  return root.ok ? checkEnvironment(root.value, demands) : root;
}

function checkEnvironment(root: Verified<Root>, demands: RootDemands): Verdict<Verified<Root>> {
  const { environment } = root.holdfast;
  if (demands.environment === undefined || demands.environment === environment) return accept(root);
  return refuse(
    'environment-mismatch',
    `root ${root.version} is for ${environment}, this device is ${demands.environment}`,
  );
}
