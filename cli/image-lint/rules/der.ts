/** Private keys in DER, known by their structure: PKCS#8, PKCS#1, SEC 1, PKCS#12. The whole file must be the key. */

const TAG = { integer: 0x02, octets: 0x04, oid: 0x06, sequence: 0x30 } as const;
const OID = {
  /** 1.2.840.113549.1.7: PKCS#7, the shell of PKCS#12. */
  pkcs7: '2a864886f70d0107',
  /** 1.2.840.113549.1.5 and .12.1: encryption with a password. */
  pbe: ['2a864886f70d0105', '2a864886f70d010c01'],
} as const;
/** RSA, EC, X25519, X448, Ed25519, Ed448, DSA, DH, RSASSA-PSS. */
const KEY_ALGORITHMS = [
  '2a864886f70d010101',
  '2a8648ce3d0201',
  '2b656e',
  '2b656f',
  '2b6570',
  '2b6571',
  '2a8648ce380401',
  '2a864886f70d010301',
  '2a864886f70d01010a',
];

interface DerElement {
  readonly tag: number;
  readonly start: number;
  readonly end: number;
}

/** The element at `at`; undefined when it does not fit. */
export function derElement(bytes: Buffer, at: number): DerElement | undefined {
  const tag = bytes[at];
  const first = bytes[at + 1];
  if (tag === undefined || first === undefined) return undefined;
  if (first < 0x80) return fitting(bytes, tag, at + 2, first);
  const count = first & 0x7f;
  if (count < 1 || count > 4 || at + 2 + count > bytes.length) return undefined;
  return fitting(bytes, tag, at + 2 + count, bytes.readUIntBE(at + 2, count));
}

function fitting(bytes: Buffer, tag: number, start: number, length: number): DerElement | undefined {
  return start + length <= bytes.length ? { tag, start, end: start + length } : undefined;
}

/** The elements of a sequence; undefined when one does not fit. */
function members(bytes: Buffer, sequence: DerElement | undefined): DerElement[] | undefined {
  if (sequence?.tag !== TAG.sequence) return undefined;
  const found: DerElement[] = [];
  for (let at = sequence.start; at < sequence.end && found.length < 16; ) {
    const element = derElement(bytes, at);
    if (element === undefined || element.end > sequence.end) return undefined;
    found.push(element);
    at = element.end;
  }
  return found;
}

export function isDerPrivateKey(bytes: Buffer): string | undefined {
  const whole = derElement(bytes, 0);
  // An editor may leave a line break at the end.
  if (whole === undefined || bytes.length - whole.end > 2) return undefined;
  const [first, second, third] = members(bytes, whole) ?? [];
  if (first === undefined || second === undefined) return undefined;
  const oid = oidIn(bytes, first.tag === TAG.sequence ? first : second);
  if (first.tag === TAG.sequence) {
    return second.tag === TAG.octets && OID.pbe.some((start) => oid.startsWith(start))
      ? 'it is an encrypted PKCS#8 key'
      : undefined;
  }
  if (first.tag !== TAG.integer || first.end - first.start !== 1) return undefined;
  const version = bytes[first.start] ?? -1;
  if (version === 3 && oid.startsWith(OID.pkcs7)) return 'it is a PKCS#12 file';
  if (version <= 1 && third?.tag === TAG.octets && KEY_ALGORITHMS.includes(oid)) return 'it is a PKCS#8 key';
  const length = second.end - second.start;
  if (version === 0 && second.tag === TAG.integer && third?.tag === TAG.integer && length >= 64)
    return 'it is a PKCS#1 key';
  if (
    version === 1 &&
    second.tag === TAG.octets &&
    length >= 28 &&
    length <= 66 &&
    third !== undefined &&
    third.tag >= 0xa0
  ) {
    return 'it is an EC key (SEC 1)';
  }
  return undefined;
}

/** The object identifier that a sequence begins with, in hex; empty when it does not. */
function oidIn(bytes: Buffer, sequence: DerElement): string {
  const [oid] = members(bytes, sequence) ?? [];
  return oid?.tag === TAG.oid ? bytes.toString('hex', oid.start, oid.end) : '';
}
