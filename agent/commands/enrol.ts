/** `enrol`: proves the claim, keeps the certificate, ends. Run again, it says that the device is enrolled. */
import { nodeDisk } from '../../platform/disk.ts';
import { makeDirectoryDurably } from '../../platform/durable-file.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import type { CommandOptions } from '../command-options.ts';
import { readConfig } from '../config.ts';
import { SourceUnreachable } from '../core/ports.ts';
import { readClaim } from '../credentials/claim.ts';
import { enrol } from '../credentials/enrolment.ts';
import { identityPaths, readIdentity } from '../credentials/identity.ts';
import { stderrLog } from '../log.ts';
import { bootstrapServer, knownServers } from '../transport/known-servers.ts';
import { ServerSaidNo } from '../transport/server-link.ts';
import { readTrustedRoot } from '../trusted-root.ts';

export async function enrolCommand(options: CommandOptions): Promise<number> {
  const config = await readConfig(nodeDisk, options.config);
  await makeDirectoryDurably(nodeDisk, config.dataDirectory);
  const paths = identityPaths(config.dataDirectory);
  const standing = await readIdentity(nodeDisk, paths);
  if (standing !== undefined) return say(options, standing.deviceId, false);
  const claim = await readClaim(nodeDisk, config.claimFile);
  const root = await readTrustedRoot(nodeDisk, stderrLog, config);
  const [server] = knownServers(await bootstrapServer(nodeDisk, config), root);
  if (server === undefined) throw new Error('there is always one server');
  const verdict = await enrol(nodeDisk, claim, server, paths).catch((error: unknown) => {
    throw faultOf(error, server.url);
  });
  if (verdict.ok) return say(options, verdict.value.deviceId, true);
  throw new Fault({
    code: verdict.code,
    what: verdict.detail,
    where: server.url,
    cure: cureOf(verdict.code),
    exitStatus: EXIT.refused,
  });
}

function say(options: CommandOptions, deviceId: string, fresh: boolean): number {
  const text = fresh ? `${deviceId} is enrolled` : `${deviceId} is enrolled already`;
  process.stdout.write(`${options.json ? JSON.stringify({ ok: true, deviceId, fresh }) : text}\n`);
  return EXIT.ok;
}

function cureOf(code: string): string {
  if (code === 'server-name-mismatch')
    return 'Dial the server by a name that its certificate holds, or start it with that --name.';
  if (code === 'server-certificate-untrusted')
    return 'Check that anchorsFile holds the authority of this server (pki/server-ca.pem).';
  return 'Check that the address is that of a Holdfast server of this version.';
}

function faultOf(error: unknown, where: string): unknown {
  if (error instanceof ServerSaidNo) {
    return new Fault({
      code: error.code,
      what: error.message,
      where,
      cure: error.cure,
      exitStatus: EXIT.refused,
      cause: error,
    });
  }
  if (error instanceof SourceUnreachable) {
    return new Fault({
      code: 'server-unreachable',
      what: error.message,
      where,
      cure: 'Check the address and that the server runs; enrolment may be repeated at any time.',
      exitStatus: EXIT.remote,
      cause: error,
    });
  }
  return error;
}
