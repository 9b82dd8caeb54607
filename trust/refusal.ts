/**
 * Every reason for which Holdfast refuses something it was given. The union is closed: a new check means a new code
 * here, a line in docs/FORMATS.md and a hostile input in the tests that provokes it.
 *
 * A refusal is a value, not an exception: hostile input is expected. Exceptions are bugs or dying disks.
 */

export const REFUSALS = {
  // --- encodings
  'input-too-large': 'More bytes than the cap for this kind of file; nothing beyond the cap was read.',
  'json-malformed': 'Not UTF-8, not JSON, a key twice, too deep, or an unknown or missing field.',
  'json-not-canonical':
    'The signed part is not in canonical form, so that its signature could cover another reading of it.',
  'cbor-malformed': 'Not well-formed CBOR, or of a type or depth that Holdfast does not take.',
  'cbor-not-deterministic': 'CBOR that is valid but not in the one deterministic form (RFC 8949 §4.2.1).',
  // --- TUF
  'metadata-missing': 'The source has no such metadata file.',
  'metadata-signature-invalid': 'A signature by a known key does not verify.',
  'metadata-threshold-not-met': 'Fewer different known keys signed than the role demands.',
  'metadata-wrong-type': 'The file is of another role than its name says.',
  'metadata-version-rollback': 'Older than what this device already trusts.',
  'metadata-version-mismatch': 'Not the version that the metadata above it names.',
  'metadata-expired': 'Past its expiry date, judged by signed time or a synchronised clock.',
  'metadata-hash-mismatch': 'Length or digest differs from what the metadata above it names.',
  'root-chain-broken': 'The next root is not exactly one version on, or not signed by both old and new keys.',
  'root-chain-too-long': 'More than 256 roots in one update.',
  'environment-mismatch': 'Signed for another environment (production, lab, rehearsal) than this device accepts.',
  'target-unknown': 'The signed targets do not list this file.',
  // --- the release
  'envelope-malformed': 'Not a SUIT envelope of the profile that Holdfast takes.',
  'envelope-digest-mismatch': 'The envelope, its manifest or a severed part is not what was signed.',
  'envelope-unsigned': 'No signature in the authentication wrapper.',
  'envelope-signature-invalid': 'A signature by a known author does not verify.',
  'signature-algorithm-refused': 'An algorithm other than the one that the key is pinned to.',
  'author-unknown': 'Signed by a key that the root does not name as an author.',
  'author-out-of-scope': 'Signed by an author whose key the root limits to other hardware classes.',
  'command-refused': 'The manifest holds a command outside the permitted set.',
  'vendor-mismatch': 'Made for another vendor.',
  'class-mismatch': 'Made for another hardware class.',
  'channel-mismatch': 'Signed for another channel than the one this device follows.',
  'sequence-not-newer': 'Not newer than what is installed.',
  'sequence-below-floor': 'Below the signed floor that this device has reached.',
  'targets-suit-disagree': 'TUF and SUIT say different things of the same release.',
  'release-quarantined': 'Failed its checks on this device before.',
  // --- images
  'block-map-malformed': 'The block map has not the length or layout that the image size demands.',
  'block-digest-mismatch': 'A block differs from the signed block map.',
  'image-size-mismatch': 'More or fewer bytes than the signed size.',
  'image-digest-mismatch': 'The image as a whole, read back, differs from the digest in the manifest.',
  // --- the wire, device side
  'server-certificate-untrusted': "No path of valid signatures from the server's certificate to a signed anchor.",
  'server-name-mismatch': "The server's certificate is for another name.",
  'answer-malformed': 'An answer that is not what the protocol allows.',
  'hint-retained': 'A hint that the broker had kept: hints are never retained.',
  'transfer-too-slow': 'Slower than the minimum rate for longer than the budget.',
  'transfer-endless': 'The source sent more bytes than it may.',
} as const satisfies Record<string, string>;

export type RefusalCode = keyof typeof REFUSALS;
// Pure, says the mark: bundlers leave the sentences out where nobody asks for the list, as on devices.
export const REFUSAL_CODES = /* @__PURE__ */ Object.keys(REFUSALS) as RefusalCode[];

export interface Refusal {
  readonly ok: false;
  readonly code: RefusalCode;
  /** What was found, for a person: expected and actual, never a secret. */
  readonly detail: string;
}

export interface Accepted<T> {
  readonly ok: true;
  readonly value: T;
}

export type Verdict<T> = Accepted<T> | Refusal;

export function refuse(code: RefusalCode, detail: string): Refusal {
  return { ok: false, code, detail };
}

export function accept<T>(value: T): Accepted<T> {
  return { ok: true, value };
}
