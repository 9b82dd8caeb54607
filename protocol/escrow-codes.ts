/** Why a blob of secrets was not made, or is not opened: the closed list, a sentence each. Stable; the detail is not. */
export const ESCROW_CODES = {
  'escrow-too-few-owners': 'Fewer owner keys than the device demands: one lost key would be all of them.',
  'escrow-too-many-owners': 'More owner keys than one blob can hold.',
  'escrow-owner-key-wrong': 'An owner key is not an X25519 key that a secret may be sealed to, or stands there twice.',
  'device-key-missing': 'The device has no key of its own yet, so that nothing could be signed.',
  'escrow-secrets-malformed': 'Too many secrets, one too long, a name twice, or a text that cannot be written down.',
  'escrow-malformed': 'Not a blob of the one form there is.',
  'escrow-signature-invalid': 'The signature is not that of the device whose key was given.',
  'escrow-other-device': 'The blob is of another device.',
  'escrow-other-epoch': 'The blob is of another epoch.',
  'escrow-not-an-owner': 'It was not sealed to this key.',
  'escrow-altered': 'It was sealed to this key, and does not open: something in it was changed.',
} as const;

export type EscrowCode = keyof typeof ESCROW_CODES;

export interface EscrowRefusal {
  readonly ok: false;
  readonly code: EscrowCode;
  /** For people; names no secret. */
  readonly detail: string;
}

export function refuseEscrow(code: EscrowCode, detail: string): EscrowRefusal {
  return { ok: false, code, detail };
}
