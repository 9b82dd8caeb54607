/**
 * The one door to @peculiar/x509: it does not load before the Reflect polyfill stands, and it weighs 20 MB and a tenth of
 * a second, which a server that issues nothing need not pay. Reading certificates is node:crypto's.
 */
import type * as X509 from '@peculiar/x509';

export type { X509 };

export async function loadX509(): Promise<typeof X509> {
  await import('reflect-metadata');
  return import('@peculiar/x509');
}
