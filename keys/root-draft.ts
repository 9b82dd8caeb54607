/**
 * The content of a first root and of first, empty targets: which keys may do what, and how many of them it takes.
 * Pure: keys come in as public halves, time as a number. Used by ceremonies and by lab servers.
 */
import { hex } from '../trust/bytes.ts';
import { encodeTufDate } from '../trust/time.ts';
import {
  type Author,
  type Environment,
  type RoleKeys,
  type Root,
  SPEC_VERSION,
  type Targets,
  type TufKey,
  tufKeyId,
  tufKeyOf,
} from '../trust/tuf/metadata.ts';
import { keyIdOf, type SignatureAlgorithm } from './signing-key.ts';

const DAY_S = 24 * 3600;
export const ROOT_LIFETIME_S = 2 * 365 * DAY_S;
export const TARGETS_LIFETIME_S = 365 * DAY_S;

export interface AuthorFacts {
  readonly algorithm: SignatureAlgorithm;
  readonly publicKey: Uint8Array;
  /** Class names, or exactly `['*']`. */
  readonly hardwareClasses: readonly string[];
}

export interface RootFacts {
  readonly environment: Environment;
  /** Raw Ed25519 public keys of each role. */
  readonly roleKeys: Readonly<Record<'root' | 'targets' | 'snapshot' | 'timestamp', readonly Uint8Array[]>>;
  readonly thresholds: { readonly root: number; readonly targets: number };
  readonly authors: readonly AuthorFacts[];
  /** Raw X25519 public keys of owners; none when absent. */
  readonly escrowKeys?: readonly Uint8Array[];
  readonly nowUnixS: number;
}

/** How many of `people` it takes: a majority for the root, two for targets (2-of-3 each; 3-of-5 and 2-of-5). */
export function thresholdsFor(people: number): { root: number; targets: number } {
  return { root: Math.floor(people / 2) + 1, targets: Math.min(2, people) };
}

function author(facts: AuthorFacts): Author {
  return {
    keyId: keyIdOf('author', facts.algorithm, facts.publicKey),
    algorithm: facts.algorithm,
    publicKey: hex(facts.publicKey),
    hardwareClasses: [...facts.hardwareClasses],
  };
}

/** Root version 1. Server addresses stay empty: devices keep their bootstrap address until a root names others. */
export function draftRoot(facts: RootFacts): Root {
  const keys: Record<string, TufKey> = {};
  const role = (name: keyof RootFacts['roleKeys'], threshold: number): RoleKeys => {
    const keyids = facts.roleKeys[name].map((publicKey) => {
      const key = tufKeyOf(publicKey);
      keys[tufKeyId(key)] = key;
      return tufKeyId(key);
    });
    return { keyids, threshold };
  };
  return {
    _type: 'root',
    spec_version: SPEC_VERSION,
    version: 1,
    expires: encodeTufDate(facts.nowUnixS + ROOT_LIFETIME_S),
    consistent_snapshot: true,
    roles: {
      root: role('root', facts.thresholds.root),
      targets: role('targets', facts.thresholds.targets),
      snapshot: role('snapshot', 1),
      timestamp: role('timestamp', 1),
    },
    keys,
    holdfast: {
      environment: facts.environment,
      authors: facts.authors.map(author),
      servers: [],
      escrowKeys: (facts.escrowKeys ?? []).map(hex),
    },
  };
}

/** The next root: the same in everything but its owners, its version and how long it is good. */
export function draftNextRoot(current: Root, escrowKeys: readonly Uint8Array[], nowUnixS: number): Root {
  return {
    ...current,
    version: current.version + 1,
    expires: encodeTufDate(nowUnixS + ROOT_LIFETIME_S),
    holdfast: { ...current.holdfast, escrowKeys: escrowKeys.map(hex) },
  };
}

/** Targets version 1: nothing released yet. */
export function emptyTargets(nowUnixS: number): Targets {
  return {
    _type: 'targets',
    spec_version: SPEC_VERSION,
    version: 1,
    expires: encodeTufDate(nowUnixS + TARGETS_LIFETIME_S),
    targets: {},
  };
}
