/**
 * The embedded store: SQLite in the server's own process. Each method is one transaction; the functions that do the work
 * are synchronous, because an `await` inside a transaction would let another request into it. Durable ones that come at
 * once share a commit (group-commit.ts).
 */
import { type CredentialPolicy, USUAL_POLICY } from '../core/credential-standing.ts';
import type { Store } from '../core/ports.ts';
import { appendAudit, listAudit, verifyAudit } from './audit-log.ts';
import { recordStatement } from './credentials.ts';
import { type Durability, Sqlite } from './database.ts';
import { approveDevice, listCredentials, serviceOf } from './device-approval.ts';
import { findDeviceRow } from './device-rows.ts';
import * as enrolment from './enrolment.ts';
import * as escrow from './escrow.ts';
import { escrowOutstanding } from './escrow-blobs.ts';
import { GroupCommit } from './group-commit.ts';
import { recordPoll } from './polls.ts';
import { countDevices, forgetPresence, recordPresence, recordStatus } from './presence.ts';
import { findReleaseRow, listReleases, recordPublication, releaseOf, transportFacts } from './releases.ts';
import * as renewal from './renewal.ts';
import { acceptReports } from './reports.ts';
import { advanceRollouts, commandRollout, startRollout } from './rollouts.ts';
import { findRotation, listRotations } from './rotation-views.ts';
import { commandRotation, startRotation } from './rotations.ts';
import * as tokens from './tokens.ts';
import { findDevice, findRollout, listDevicesExplained, listRollouts } from './views.ts';

/** Opens the database, making it when there is none. Faults: see Sqlite. `path` must be on a local disk. */
export function openSqliteStore(path: string, policy: CredentialPolicy = USUAL_POLICY): Store {
  const db = new Sqlite(path);
  // Async functions, so that whatever is thrown becomes a rejection, as it would with a database on the network.
  const run = async <T>(durability: Durability, work: () => T): Promise<T> => db.transact(durability, work);
  const group = new GroupCommit(db);
  const durable = <T>(work: () => T): Promise<T> => group.run(work);
  const relaxed = <T>(work: () => T): Promise<T> => run('relaxed', work);

  return {
    createClaims: (order) =>
      durable(() => {
        const ids = enrolment.createClaims(db, order);
        return ids.length === 0 ? { outcome: 'created' } : { outcome: 'ids-taken', ids };
      }),
    findClaim: (claimId) => relaxed(() => enrolment.findClaim(db, claimId)),
    keepNonce: (nonce) =>
      relaxed(() => enrolment.keepNonce(db, nonce.nonce, nonce.claimId, nonce.expiresUnixMs, nonce.nowUnixMs)),
    takeNonce: (nonce, claimId, nowUnixMs) => durable(() => enrolment.takeNonce(db, nonce, claimId, nowUnixMs)),
    enrolDevice: ({ claimId, certificate, nowUnixMs }) =>
      durable(() => enrolment.enrolDevice(db, claimId, certificate, nowUnixMs)),
    findCertificate: (fingerprintSha256) => relaxed(() => enrolment.findCertificate(db, fingerprintSha256)),
    revokeDevice: (deviceId, actor, why, nowUnixMs) =>
      durable(() => enrolment.revokeDevice(db, deviceId, actor, why, nowUnixMs)),

    recordPoll: (deviceId, poll, nowUnixMs) => relaxed(() => recordPoll(db, deviceId, poll, policy, nowUnixMs)),
    acceptReports: (deviceId, reports, nowUnixMs) => durable(() => acceptReports(db, deviceId, reports, nowUnixMs)),
    recordStatement: (given, nowUnixMs) => durable(() => recordStatement(db, given, nowUnixMs)),
    serviceOf: (deviceId) => relaxed(() => serviceOf(db, deviceId, policy)),
    approveDevice: (approval, actor, nowUnixMs) => durable(() => approveDevice(db, approval, actor, nowUnixMs)),
    keepEscrow: (given, nowUnixMs) => durable(() => escrow.keepEscrow(db, given, nowUnixMs)),
    requestEscrow: (deviceId, reason, actor, nowUnixMs) =>
      durable(() => escrow.requestEscrow(db, deviceId, reason, actor, nowUnixMs)),
    approveEscrow: (requestId, actor, nowUnixMs) =>
      durable(() => escrow.approveEscrow(db, requestId, actor, nowUnixMs)),
    fetchEscrow: (requestId, actor, nowUnixMs) => durable(() => escrow.fetchEscrow(db, requestId, actor, nowUnixMs)),
    listEscrowRequests: () => relaxed(() => escrow.listEscrowRequests(db)),
    escrowOutstanding: (owner) => relaxed(() => escrowOutstanding(db, owner)),
    startRotation: (request, actor, nowUnixMs) => durable(() => startRotation(db, request, actor, nowUnixMs)),
    commandRotation: (rotationId, verb, actor, nowUnixMs) =>
      durable(() => commandRotation(db, rotationId, verb, actor, nowUnixMs)),
    listRotations: (nowUnixMs) => relaxed(() => listRotations(db, nowUnixMs)),
    findRotation: (rotationId, nowUnixMs) => relaxed(() => findRotation(db, rotationId, nowUnixMs)),
    renewCertificate: (request) => durable(() => renewal.renewCertificate(db, request)),
    markCertificateUsed: (fingerprintSha256, nowUnixMs) =>
      durable(() => renewal.markCertificateUsed(db, fingerprintSha256, nowUnixMs)),
    hardwareClassOf: (deviceId) => relaxed(() => findDeviceRow(db, deviceId)?.hardware_class),
    recordPresence: (deviceId, presence, nowUnixMs) => relaxed(() => recordPresence(db, deviceId, presence, nowUnixMs)),
    recordStatus: (deviceId, status, nowUnixMs) => relaxed(() => recordStatus(db, deviceId, status, nowUnixMs)),
    forgetPresence: (nowUnixMs) => relaxed(() => forgetPresence(db, nowUnixMs)),

    recordPublication: (publication) => durable(() => ({ releases: recordPublication(db, publication) })),
    listReleases: () => relaxed(() => listReleases(db)),
    findRelease: (releasePath) =>
      relaxed(() => {
        const row = findReleaseRow(db, releasePath);
        return row === undefined || row.withdrawn === 1 ? undefined : releaseOf(row);
      }),

    transportFacts: () => relaxed(() => transportFacts(db)),

    startRollout: (request, actor, nowUnixMs) => durable(() => startRollout(db, request, actor, nowUnixMs)),
    commandRollout: (rolloutId, verb, actor, nowUnixMs) =>
      durable(() => commandRollout(db, rolloutId, verb, actor, nowUnixMs)),
    advanceRollouts: (nowUnixMs) => durable(() => advanceRollouts(db, nowUnixMs)),
    listRollouts: (nowUnixMs) => relaxed(() => listRollouts(db, nowUnixMs)),
    findRollout: (rolloutId, nowUnixMs) => relaxed(() => findRollout(db, rolloutId, nowUnixMs)),

    listDevices: (settings) => relaxed(() => listDevicesExplained(db, settings, policy)),
    listCredentials: (page) => relaxed(() => listCredentials(db, page)),
    findDevice: (deviceId, settings) => relaxed(() => findDevice(db, deviceId, settings, policy)),
    countDevices: (settings) => relaxed(() => countDevices(db, settings)),

    countTokens: () => relaxed(() => tokens.countTokens(db)),
    createToken: (token, actor, nowUnixMs) =>
      durable(() => ({ outcome: tokens.createToken(db, token, actor, nowUnixMs) })),
    findToken: (tokenSha256) => relaxed(() => tokens.findToken(db, tokenSha256)),
    exchangeToken: (oneTimeTokenId, token, nowUnixMs) =>
      durable(() => tokens.exchangeToken(db, oneTimeTokenId, token, nowUnixMs)),
    touchToken: (tokenId, nowUnixMs) => relaxed(() => tokens.touchToken(db, tokenId, nowUnixMs)),
    listTokens: () => relaxed(() => tokens.listTokens(db)),
    revokeToken: (tokenId, actor, nowUnixMs) => durable(() => tokens.revokeToken(db, tokenId, actor, nowUnixMs)),

    appendAudit: (entry, nowUnixMs) => durable(() => appendAudit(db, entry, nowUnixMs)),
    listAudit: ({ limit, beforeIndex }) => relaxed(() => listAudit(db, limit, beforeIndex)),
    verifyAudit: () => relaxed(() => verifyAudit(db)),

    close: async () => {
      group.flush();
      db.close();
    },
  };
}
