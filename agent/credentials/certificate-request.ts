/**
 * A PKCS#10 certificate request (RFC 2986) for an EC key: put together with node-forge's ASN.1 module alone, signed by
 * node:crypto. The subject is the device id and nothing else; the server decides everything that stands in a certificate.
 */
import { createPublicKey, type KeyObject, sign } from 'node:crypto';
import asn1 from 'node-forge/lib/asn1.js';

const OID = { commonName: '2.5.4.3', ecdsaWithSha256: '1.2.840.10045.4.3.2' } as const;
const { UNIVERSAL, CONTEXT_SPECIFIC } = asn1.Class;
const { SEQUENCE, SET, INTEGER, UTF8, BITSTRING } = asn1.Type;

type Node = ReturnType<typeof asn1.create>;

/** DER. ECDSA signatures are drawn anew, so two requests for one key differ; the server compares keys. */
export function makeCertificateRequest(privateKey: KeyObject, deviceId: string): Uint8Array {
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  const info = asn1.create(UNIVERSAL, SEQUENCE, true, [
    asn1.create(UNIVERSAL, INTEGER, false, '\0'),
    subject(deviceId),
    asn1.fromDer(spki.toString('latin1'), { strict: true, decodeBitStrings: false } as unknown as boolean),
    // [0] attributes: none, and not optional.
    asn1.create(CONTEXT_SPECIFIC, 0 as never, true, []),
  ]);
  const signature = sign('sha256', bytesOf(info), privateKey);
  const request = asn1.create(UNIVERSAL, SEQUENCE, true, [
    info,
    sequence([oid(OID.ecdsaWithSha256)]),
    asn1.create(UNIVERSAL, BITSTRING, false, `\0${signature.toString('latin1')}`),
  ]);
  return new Uint8Array(bytesOf(request));
}

function subject(deviceId: string): Node {
  const name = asn1.create(UNIVERSAL, UTF8, false, Buffer.from(deviceId, 'utf8').toString('latin1'));
  return sequence([asn1.create(UNIVERSAL, SET, true, [sequence([oid(OID.commonName), name])])]);
}

function sequence(children: Node[]): Node {
  return asn1.create(UNIVERSAL, SEQUENCE, true, children);
}

function oid(dotted: string): Node {
  return asn1.create(UNIVERSAL, asn1.Type.OID, false, asn1.oidToDer(dotted).getBytes());
}

function bytesOf(node: Node): Buffer {
  return Buffer.from(asn1.toDer(node).getBytes(), 'latin1');
}
