/**
 * Which servers this device may talk to. It starts with one address and its anchors from its own configuration; once it
 * trusts a root that names servers, those replace it. A changed lease of the first address so needs no ceremony, and a
 * threshold of root keys can re-home a fleet.
 */
import { X509Certificate } from 'node:crypto';
import { type Disk, FileTooLarge } from '../../platform/disk.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { anchorToPem } from '../../trust/anchors.ts';
import type { Root } from '../../trust/tuf/metadata.ts';
import type { AgentConfig } from '../config.ts';
import { decodeCertificateChain } from '../credentials/identity.ts';
import type { ServerEntry } from './server-pool.ts';

const ANCHORS_CAP_BYTES = 64 * 1024;

/** The server of the configuration. Throws a Fault when its anchors cannot be read. */
export async function bootstrapServer(disk: Disk, config: AgentConfig): Promise<ServerEntry> {
  const { url, mqttUrl, anchorsFile } = config.server;
  return { url, mqttUrl, anchors: await readAnchors(disk, anchorsFile) };
}

/** `trustedRoot`: a root that was verified, or the factory's, which is trusted by its place. */
export function knownServers(bootstrap: ServerEntry, trustedRoot: Root): readonly ServerEntry[] {
  const signed = trustedRoot.holdfast.servers.map(({ url, mqttUrl, anchors }) => ({
    url,
    mqttUrl,
    anchors: anchors.map(anchorToPem).filter(isCertificate),
  }));
  const usable = signed.filter(
    ({ url, anchors }) => anchors.length > 0 && URL.canParse(url) && url.startsWith('https://'),
  );
  return usable.length > 0 ? usable : [bootstrap];
}

async function readAnchors(disk: Disk, path: string): Promise<string[]> {
  const fault = (what: string, cause?: unknown): Fault =>
    new Fault({
      code: 'anchors-unreadable',
      what,
      where: path,
      cure: 'Put the certificate of the authority of your server there (PEM); the server keeps it as pki/server-ca.pem.',
      exitStatus: EXIT.input,
      cause,
    });
  let text: string;
  try {
    const bytes = await disk.readFile(path, ANCHORS_CAP_BYTES);
    if (bytes === undefined) throw fault('there is no file of anchors, so no server can be believed');
    text = new TextDecoder().decode(bytes);
  } catch (error) {
    if (error instanceof FileTooLarge) throw fault(error.message, error);
    throw error;
  }
  const anchors = decodeCertificateChain(text);
  const broken = anchors.find((pem) => !isCertificate(pem));
  if (anchors.length === 0 || broken !== undefined)
    throw fault('the file of anchors holds no certificate that can be read');
  return anchors;
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}
