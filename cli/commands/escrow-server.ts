/**
 * `holdfast escrow request, requests, approve, fetch, outstanding`: sealed blobs that the server keeps and cannot read.
 * Opening one takes an owner's key, and no server.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { nodeDisk } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import type { EscrowReleaseView } from '../../protocol/operator-api.ts';
import { unbase64url } from '../../trust/bytes.ts';
import { sha256Hex } from '../../trust/crypto.ts';
import { addCommand, type Finish, type Outcome, onRun } from '../command.ts';
import { formatMoment } from '../duration.ts';
import type { Output } from '../output.ts';
import { withServer } from '../session.ts';

function request(out: Output, deviceId: string, reason: string): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const asked = await api.requestEscrow(deviceId, reason);
    out.say(`Request ${asked.requestId} for the sealed blob of ${deviceId}, epoch ${asked.epoch}.`);
    out.next(
      `holdfast escrow approve ${asked.requestId}   (another person)`,
      `holdfast escrow fetch ${deviceId} --out FILE`,
    );
    return { document: { request: asked } };
  });
}

function requests(out: Output): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const list = (await api.escrowRequests()).requests;
    if (list.length === 0) out.say('Nobody has asked for a sealed blob.');
    else {
      out.table([
        ['request', 'device', 'epoch', 'asked', 'by', 'approved by', 'fetched', 'reason'],
        ...list.map((one) => [
          one.requestId,
          one.deviceId,
          String(one.epoch),
          formatMoment(one.requestedUnixMs),
          one.requestedBy,
          one.approvedBy ?? '-',
          one.fetchedUnixMs === null ? '-' : formatMoment(one.fetchedUnixMs),
          one.reason,
        ]),
      ]);
    }
    return { document: { requests: list } };
  });
}

function approve(out: Output, requestId: string): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const approved = await api.approveEscrow(requestId);
    const until = approved.goodUntilUnixMs === null ? '' : ` until ${formatMoment(approved.goodUntilUnixMs)}`;
    out.say(`${approved.requestedBy} may fetch the sealed blob of ${approved.deviceId}${until}.`);
    return { document: { request: approved } };
  });
}

const isGood = (one: EscrowReleaseView, deviceId: string, name: string): boolean =>
  one.deviceId === deviceId && one.requestedBy === name && (one.goodUntilUnixMs ?? 0) > Date.now();

async function fetchBlob(out: Output, deviceId: string, file: string): Promise<Outcome> {
  const path = resolve(file);
  if (existsSync(path)) {
    throw new Fault({
      code: 'file-exists',
      what: 'a file of this name exists already',
      where: path,
      cure: 'Choose another name: a sealed blob is never written over.',
      exitStatus: EXIT.refused,
    });
  }
  return withServer(out, async ({ api }) => {
    const { name } = await api.whoami();
    const good = (await api.escrowRequests()).requests.find((one) => isGood(one, deviceId, name));
    if (good === undefined) {
      throw new Fault({
        code: 'not-approved',
        what: `no request of yours for ${deviceId} is approved and still good`,
        cure: `holdfast escrow request ${deviceId} --reason TEXT, and have another person approve it.`,
        exitStatus: EXIT.refused,
      });
    }
    const { blob, ...about } = await api.fetchEscrow(good.requestId);
    const bytes = unbase64url(blob);
    if (bytes === undefined || sha256Hex(bytes) !== about.sha256) {
      throw new Fault({
        code: 'escrow-digest-wrong',
        what: 'the blob does not hash to its digest',
        cure: 'Fetch it again; if it stays so, the database of the server is damaged.',
        exitStatus: EXIT.remote,
      });
    }
    await writeDurably(nodeDisk, path, bytes, 0o600);
    out.say(`The sealed blob of ${deviceId}, epoch ${about.epoch}, is in ${path}.`);
    out.say('The audit says so, and the device is asked to rotate: what is opened is worth little by then.');
    out.next(`holdfast escrow open ${file}   (with an owner's key)`);
    return { document: { ...about, path } };
  });
}

function outstanding(out: Output, owner: string): Promise<Outcome> {
  if (!/^[0-9a-f]{64}$/.test(owner)) {
    throw new Fault({
      code: 'owner-malformed',
      what: `'${owner}' is not the identity of an owner's key`,
      where: '--owner',
      cure: "Give the SHA-256 of the owner's public key, 64 hexadecimal digits.",
      exitStatus: EXIT.usage,
    });
  }
  return withServer(out, async ({ api }) => {
    const { devices } = await api.escrowOutstanding(owner);
    if (devices.length === 0) out.say('No newest blob is sealed to this owner.');
    else {
      const rows = devices.map((one) => [one.deviceId, String(one.epoch), formatMoment(one.storedUnixMs)]);
      out.table([['device', 'epoch', 'kept since'], ...rows]);
      out.next('holdfast credentials rotate --all --why "owner key revoked"   (once the new root is published)');
    }
    return { document: { owner, devices } };
  });
}

/** Below the group `escrow`. */
export function addEscrowServerCommands(group: Command, finish: Finish): void {
  const requestCommand = addCommand(group, {
    usage: 'request DEVICE',
    summary: "ask for a device's newest sealed blob",
    examples: ['holdfast escrow request cam-0001 --reason "owner locked out"'],
  }).requiredOption('--reason <TEXT>', 'the reason, for who approves and for the audit log');
  onRun<{ reason: string }>(requestCommand, finish, (out, options, deviceId = '') =>
    request(out, deviceId, options.reason),
  );
  const requestsCommand = addCommand(group, {
    usage: 'requests',
    summary: 'list who asked for which blob, newest first',
    examples: ['holdfast escrow requests'],
  });
  onRun(requestsCommand, finish, (out) => requests(out));
  const approveCommand = addCommand(group, {
    usage: 'approve REQUEST',
    summary: 'let who asked fetch the blob; by another person, once two people may approve',
    examples: ['holdfast escrow approve e1'],
  });
  onRun(approveCommand, finish, (out, _options, requestId = '') => approve(out, requestId));
  const fetchCommand = addCommand(group, {
    usage: 'fetch DEVICE',
    summary: 'fetch the sealed blob that you asked for; the device is asked to rotate afterwards',
    examples: ['holdfast escrow fetch cam-0001 --out cam-0001.sealed'],
  }).requiredOption('--out <FILE>', 'where it goes, 0600');
  onRun<{ out: string }>(fetchCommand, finish, (out, options, deviceId = '') => fetchBlob(out, deviceId, options.out));
  const outstandingCommand = addCommand(group, {
    usage: 'outstanding',
    summary: "list devices whose newest blob an owner's key opens: after that key was revoked",
    examples: ['holdfast escrow outstanding --owner SHA256'],
  }).requiredOption('--owner <SHA256>', "SHA-256 of the owner's public key");
  onRun<{ owner: string }>(outstandingCommand, finish, (out, options) => outstanding(out, options.owner));
}
