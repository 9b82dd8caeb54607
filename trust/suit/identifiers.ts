/** Skeleton; see exports. */
/** UUIDv5(DNS namespace, vendor name), 16 bytes. */
export function vendorIdentifier(_vendor: string): Uint8Array {
  throw new Error('not written yet');
}
/** UUIDv5(vendor UUID, class name), 16 bytes. */
export function classIdentifier(_vendor: string, _hardwareClass: string): Uint8Array {
  throw new Error('not written yet');
}
