/** The public key of an owner whom nobody needs: devices seal to it, and nobody opens. */
import { generateKeyPairSync } from 'node:crypto';

/** X25519, hex, as `holdfast escrow key show` prints it. */
export function newOwnerKey(): string {
  const { publicKey } = generateKeyPairSync('x25519');
  return publicKey.export({ format: 'der', type: 'spki' }).subarray(-32).toString('hex');
}
