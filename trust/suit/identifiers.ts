/**
 * Vendor and class identifiers: UUIDv5 of names (draft-ietf-suit-manifest-37 §8.4.8.2, RFC 9562 §5.5). They say what
 * fits together, never who somebody is.
 */
import { concat, utf8 } from '../bytes.ts';
import { sha1ForNames } from '../crypto.ts';

export const UUID_BYTES = 16;
/** 6ba7b810-9dad-11d1-80b4-00c04fd430c8, the DNS namespace of RFC 9562 §6.6. */
const DNS_NAMESPACE = Uint8Array.of(
  ...[0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1],
  ...[0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8],
);

function uuid5(namespace: Uint8Array, name: string): Uint8Array {
  const uuid = sha1ForNames(concat(namespace, utf8(name))).slice(0, UUID_BYTES);
  uuid[6] = ((uuid[6] ?? 0) & 0x0f) | 0x50;
  uuid[8] = ((uuid[8] ?? 0) & 0x3f) | 0x80;
  return uuid;
}

/** UUIDv5 of the DNS namespace and the vendor's name, 16 bytes. */
export function vendorIdentifier(vendor: string): Uint8Array {
  return uuid5(DNS_NAMESPACE, vendor);
}

/** UUIDv5 of the vendor's UUID and the class name, 16 bytes. */
export function classIdentifier(vendor: string, hardwareClass: string): Uint8Array {
  return uuid5(vendorIdentifier(vendor), hardwareClass);
}
