/**
 * What Node's X509Certificate does not tell of a certificate: path length, key usage bits, critical extensions, and the
 * algorithm it was signed with (RFC 5280 §4.2). Reads only; decides nothing. Anything malformed is undefined.
 */
import asn1 from 'node-forge/lib/asn1.js';

export interface CertificateExtensions {
  readonly isAuthority: boolean;
  /** Intermediate authorities that may stand below this one; undefined for no limit. */
  readonly pathLength: number | undefined;
  /** RFC 5280 §4.2.1.3, or undefined when the extension is absent (then every use is allowed). */
  readonly keyUsage: { readonly digitalSignature: boolean; readonly keyCertSign: boolean } | undefined;
  /** Object identifiers, or undefined when the extension is absent. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  /** Extensions that must be understood and are not among those above or the alternative names. */
  readonly notUnderstood: readonly string[];
  readonly signatureAlgorithm: string;
}

const OID = {
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  extendedKeyUsage: '2.5.29.37',
} as const;

type Node = ReturnType<typeof asn1.fromDer>;

export function decodeCertificateExtensions(der: Uint8Array): CertificateExtensions | undefined {
  try {
    const [tbs, algorithm] = children(decode(Buffer.from(der).toString('latin1')));
    // [3] EXPLICIT Extensions is the only context-specific [3] of a TBSCertificate.
    const wrapper = children(tbs).find((node) => node.tagClass === asn1.Class.CONTEXT_SPECIFIC && node.type === 3);
    const extensions = wrapper === undefined ? [] : children(children(wrapper)[0]).map(decodeExtension);
    return { ...collect(extensions), signatureAlgorithm: oid(children(algorithm)[0]) };
  } catch {
    return undefined;
  }
}

interface Extension {
  readonly id: string;
  readonly critical: boolean;
  readonly value: string;
}

function collect(extensions: readonly Extension[]): Omit<CertificateExtensions, 'signatureAlgorithm'> {
  const valueIn = (id: string): string | undefined => {
    const found = extensions.filter((extension) => extension.id === id);
    if (found.length > 1) throw new Error('an extension stands twice');
    return found[0]?.value;
  };
  const basic = valueIn(OID.basicConstraints);
  const usage = valueIn(OID.keyUsage);
  const extended = valueIn(OID.extendedKeyUsage);
  const understood: readonly string[] = [OID.keyUsage, OID.subjectAltName, OID.basicConstraints, OID.extendedKeyUsage];
  return {
    ...(basic === undefined ? { isAuthority: false, pathLength: undefined } : decodeBasicConstraints(basic)),
    keyUsage: usage === undefined ? undefined : decodeKeyUsage(usage),
    extendedKeyUsage: extended === undefined ? undefined : children(decode(extended)).map(oid),
    // Name constraints bind even where their maker forgot to call them critical: not understood is not obeyed.
    notUnderstood: extensions
      .filter(({ id, critical }) => (critical && !understood.includes(id)) || id === OID.nameConstraints)
      .map(({ id }) => id),
  };
}

function decodeExtension(node: Node): Extension {
  const parts = children(node);
  const last = parts.at(-1);
  const critical = parts.length === 3 && parts[1]?.type === asn1.Type.BOOLEAN && text(parts[1]) !== '\0';
  if (last?.type !== asn1.Type.OCTETSTRING) throw new Error('an extension has no value');
  return { id: oid(parts[0]), critical, value: text(last) };
}

function decodeBasicConstraints(value: string): { isAuthority: boolean; pathLength: number | undefined } {
  const [first, second] = children(decode(value));
  const isAuthority = first?.type === asn1.Type.BOOLEAN && text(first) !== '\0';
  const length = first?.type === asn1.Type.INTEGER ? first : second;
  return { isAuthority, pathLength: length === undefined ? undefined : asn1.derToInteger(text(length)) };
}

function decodeKeyUsage(value: string): { digitalSignature: boolean; keyCertSign: boolean } {
  // A BIT STRING: the first byte counts unused bits, bit 0 is the highest of the next.
  const bits = text(decode(value)).charCodeAt(1) || 0;
  return { digitalSignature: (bits & 0x80) !== 0, keyCertSign: (bits & 0x04) !== 0 };
}

/** `parseAllBytes` is missing from the published types and is the default: trailing bytes are an error. */
function decode(bytes: string): Node {
  return asn1.fromDer(bytes, { strict: true, decodeBitStrings: false } as unknown as boolean);
}

function children(node: Node | undefined): Node[] {
  if (node === undefined || !Array.isArray(node.value)) throw new Error('not a constructed value');
  return node.value as Node[];
}

function text(node: Node): string {
  if (typeof node.value !== 'string') throw new Error('not a primitive value');
  return node.value;
}

function oid(node: Node | undefined): string {
  if (node?.type !== asn1.Type.OID) throw new Error('not an object identifier');
  return asn1.derToOid(text(node));
}
