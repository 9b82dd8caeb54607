/**
 * Does a statement prove rotation, and what speaks against it? Pure; the store brings the facts in one transaction. How a
 * device stands in between, and what it may be given, is decided in credential-standing.ts.
 *
 * It is not attestation: a device in a stranger's hands can say what it likes. What this finds is the device that was
 * forgotten, and the image that was copied.
 */
import {
  type CredentialEntry,
  type FirstBootState,
  isRotated,
  type RotationStatement,
} from '../../protocol/credentials.ts';
import type { StatementVerdict } from '../../protocol/credentials-api.ts';
import { hasReached } from '../../protocol/device-api.ts';
import type { Flag } from '../../protocol/reasons.ts';

/** What speaks against a device, in which words. */
export interface RaisedFlag {
  readonly code: Flag;
  readonly detail: string;
}

/** The furthest that a device has stated, under the key that it has now. */
export interface KnownCredentials {
  readonly epoch: number;
  readonly state: FirstBootState;
  readonly hardwareId: string | null;
  /** Stated for `epoch`. */
  readonly credentials: readonly CredentialEntry[];
}

/** Two boards may have one key: what either of them states decides nothing, a person does. */
export const SEEN_TWICE: readonly Flag[] = ['reports-went-back', 'two-boots-at-once'];
/** What only a person takes away. */
export const PERSON_DECIDES: readonly Flag[] = ['hardware-moved', ...SEEN_TWICE];

export interface StatementFacts {
  /** Whose certificate the statement came with. */
  readonly deviceId: string;
  readonly statement: RotationStatement;
  /** Given out to this device, not used before, not too old. */
  readonly nonceFresh: boolean;
  /** Over the statement's bytes, by the key of that certificate. */
  readonly signatureValid: boolean;
  /** Null: nothing stated yet. */
  readonly known: KnownCredentials | null;
  /** A person said that this hardware is right, or the device was admitted anew and its first word counts. */
  readonly approvedHardware: string | 'next' | null;
  /** It was seen on another board, and no person has decided since. */
  readonly waitsForApproval: boolean;
  /** What its reports said against its key, and no person has decided since. */
  readonly seenTwice: readonly RaisedFlag[];
  /** Of other devices that are not revoked. */
  readonly sharedWith: readonly { readonly name: string; readonly deviceId: string }[];
  readonly sameHardware: readonly string[];
  /** Digest of the blob that the server keeps for the stated epoch; null: none. */
  readonly keptEscrow: string | null;
}

export const STATEMENT_REFUSALS = {
  'statement-nonce-unknown': {
    what: 'the nonce was not given out to this device, was used before, or is too old',
    cure: 'Ask for a new nonce and use it once, within two minutes.',
  },
  'statement-signature-wrong': {
    what: 'the signature is not by the key of the certificate that the statement came with',
    cure: 'Sign the bytes that are sent, with the key of the certificate in use.',
  },
  'statement-of-another-device': {
    what: 'the statement names another device than the certificate',
    cure: 'State what is so for the device that the certificate was issued to.',
  },
} as const;
export type StatementRefusal = keyof typeof STATEMENT_REFUSALS;

export type StatementJudgement =
  | { readonly verdict: 'refused'; readonly code: StatementRefusal }
  | { readonly verdict: StatementVerdict; readonly flags: readonly RaisedFlag[] };

export function judgeStatement(facts: StatementFacts): StatementJudgement {
  const { statement } = facts;
  if (!facts.nonceFresh) return { verdict: 'refused', code: 'statement-nonce-unknown' };
  if (!facts.signatureValid) return { verdict: 'refused', code: 'statement-signature-wrong' };
  if (statement.deviceId !== facts.deviceId) return { verdict: 'refused', code: 'statement-of-another-device' };
  const flags = [...wentBack(facts), ...copies(facts), ...moved(facts), ...facts.seenTwice, ...escrow(facts)];
  if (flags.length > 0) return { verdict: 'flagged', flags };
  return { verdict: isRotated(statement) ? 'proven' : 'factory', flags };
}

function wentBack({ statement, known }: StatementFacts): RaisedFlag[] {
  if (known === null || statement.epoch > known.epoch) return [];
  if (statement.epoch < known.epoch) {
    return [{ code: 'epoch-went-back', detail: `epoch ${statement.epoch} after ${known.epoch}` }];
  }
  const flags: RaisedFlag[] = [];
  const fellBack = hasReached(statement.state, 'factory') && !hasReached(statement.state, 'open');
  if (fellBack && hasReached(known.state, 'open')) {
    flags.push({ code: 'state-went-back', detail: `${statement.state} after ${known.state}, epoch ${known.epoch}` });
  }
  const before = new Map(known.credentials.filter(isOfEpoch).map(({ name, fingerprint }) => [name, fingerprint]));
  const changed = statement.credentials
    .filter(isOfEpoch)
    .filter(({ name, fingerprint }) => (before.get(name) ?? fingerprint) !== fingerprint)
    .map(({ name }) => name);
  if (changed.length > 0) {
    flags.push({ code: 'credentials-changed', detail: `${changed.join(', ')}, epoch ${known.epoch}` });
  }
  return flags;
}

/** Made on this device: it must be nobody else's. What the owner gave may be the same in the whole fleet. */
export const isOwn = ({ kind, state }: Pick<CredentialEntry, 'kind' | 'state'>): boolean =>
  state === 'own' && kind !== 'authorized-keys' && kind !== 'device-certificate';

/** Never twice different in one epoch. The device key may change with its certificate, and the server has seen that. */
const isOfEpoch = (entry: CredentialEntry): boolean => isOwn(entry) && entry.kind !== 'device-key';

function copies({ sharedWith, sameHardware }: StatementFacts): RaisedFlag[] {
  const flags: RaisedFlag[] = [];
  if (sharedWith.length > 0) {
    const detail = sharedWith.map(({ name, deviceId }) => `${name} is also ${deviceId}'s`).join('; ');
    flags.push({ code: 'fingerprint-shared', detail });
  }
  if (sameHardware.length > 0) {
    flags.push({ code: 'hardware-on-two-devices', detail: `${sameHardware.join(', ')} is the same board` });
  }
  return flags;
}

function moved({ statement, known, approvedHardware, waitsForApproval }: StatementFacts): RaisedFlag[] {
  const { hardwareId, movedFrom } = statement;
  // One of the two may be a copy: that the other speaks again decides nothing.
  if (waitsForApproval && approvedHardware !== 'next') {
    return [
      {
        code: 'hardware-moved',
        detail: `two boards have spoken, now ${hardwareId?.slice(0, 12) ?? 'one without a name'}`,
      },
    ];
  }
  if (approvedHardware === 'next' || (hardwareId !== null && hardwareId === approvedHardware)) return [];
  const before = movedFrom ?? known?.hardwareId ?? null;
  if (before === null || before === hardwareId) return [];
  const now = hardwareId === null ? 'hardware that says nothing of itself' : `board ${hardwareId.slice(0, 12)}`;
  return [{ code: 'hardware-moved', detail: `${now} after board ${before.slice(0, 12)}` }];
}

function escrow({ statement, keptEscrow }: StatementFacts): RaisedFlag[] {
  if (keptEscrow === null || statement.escrow === null || statement.escrow.sha256 === keptEscrow) return [];
  return [
    {
      code: 'escrow-differs',
      detail: `it states ${statement.escrow.sha256.slice(0, 12)} for epoch ${statement.epoch}`,
    },
  ];
}
