/** `holdfast tokens` and `holdfast audit`: who may do what, and who did. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { nodeDisk } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { ROLES, type Role } from '../../protocol/operator-api.ts';
import { fetchAudit, verifyAuditChain } from '../audit-chain.ts';
import { addCommand, addGroup, type Finish, type Outcome, onRun } from '../command.ts';
import { formatMoment } from '../duration.ts';
import type { Output } from '../output.ts';
import { withServer } from '../session.ts';
import { parseWholeNumber } from '../waves.ts';

interface CreateOptions {
  readonly role: string;
  readonly expiresDays?: string;
  readonly out?: string;
}

function parseRole(text: string): Role {
  const role = ROLES.find((candidate) => candidate === text);
  if (role !== undefined) return role;
  throw new Fault({
    code: 'role-unknown',
    what: `'${text}' is not a role`,
    where: '--role',
    cure: `Give one of: ${ROLES.join(', ')}.`,
    exitStatus: EXIT.usage,
  });
}

function create(out: Output, name: string, options: CreateOptions): Promise<Outcome> {
  const role = parseRole(options.role);
  const expiry =
    options.expiresDays === undefined
      ? {}
      : { expiresInDays: parseWholeNumber(options.expiresDays, '--expires-days', 1, 3650) };
  return withServer(out, async ({ api }) => {
    const answer = await api.createToken({ name, role, ...expiry });
    const { token, ...view } = answer;
    if (options.out === undefined) {
      out.say(`Token of ${view.name} (${view.role}), shown this once:`);
      out.say(token);
      return { document: { ...view, token } };
    }
    const path = resolve(options.out);
    await writeDurably(nodeDisk, path, Buffer.from(`${token}\n`, 'latin1'), 0o600);
    out.say(`Token of ${view.name} (${view.role}) written to ${path}.`);
    return { document: { ...view, file: path } };
  });
}

function list(out: Output): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const { tokens } = await api.tokens();
    const moment = (unixMs: number | null, none: string): string => (unixMs === null ? none : formatMoment(unixMs));
    out.table([
      ['token', 'name', 'role', 'created', 'expires', 'last used'],
      ...tokens.map((token) => [
        token.tokenId,
        token.name,
        token.role,
        formatMoment(token.createdUnixMs),
        moment(token.expiresUnixMs, 'never'),
        moment(token.lastUsedUnixMs, 'never'),
      ]),
    ]);
    return { document: { tokens } };
  });
}

function revoke(out: Output, tokenId: string): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    await api.revokeToken(tokenId);
    out.say(`Token ${tokenId} is revoked.`);
    return { document: { tokenId } };
  });
}

function addTokenCommands(program: Command, finish: Finish): void {
  const group = addGroup(program, 'tokens', 'give people and programs access to the server');
  const createCommand = addCommand(group, {
    usage: 'create NAME',
    summary: 'make a token for a person or a program',
    examples: [
      'holdfast tokens create anna --role operator --out anna.token',
      'holdfast tokens create ci --role viewer --expires-days 90',
    ],
  })
    .requiredOption('--role <ROLE>', `one of ${ROLES.join(', ')}; each may do what those before it may`)
    .option('--expires-days <N>', 'how long it is good; for ever when absent')
    .option('--out <FILE>', 'write the token to this file (0600) instead of the terminal');
  onRun<CreateOptions>(createCommand, finish, (out, options, name = '') => create(out, name, options));
  const listCommand = addCommand(group, {
    usage: 'list',
    summary: 'list tokens; never their secrets',
    examples: ['holdfast tokens list'],
  });
  onRun(listCommand, finish, (out) => list(out));
  const revokeCommand = addCommand(group, {
    usage: 'revoke TOKEN',
    summary: 'end a token, at once',
    examples: ['holdfast tokens revoke TOKEN'],
  });
  onRun(revokeCommand, finish, (out, _options, tokenId = '') => revoke(out, tokenId));
}

function auditList(out: Output, options: { readonly limit: string }): Promise<Outcome> {
  const limit = parseWholeNumber(options.limit, '--limit', 1, 1000);
  return withServer(out, async ({ api }) => {
    const { entries, chain } = await api.audit({ limit });
    out.table([
      ['#', 'when', 'who', 'did', 'to', ''],
      ...entries.map((entry) => [
        String(entry.index),
        formatMoment(entry.atUnixMs),
        entry.actor,
        entry.action,
        entry.subject,
        entry.detail,
      ]),
    ]);
    return { document: { entries, chain } };
  });
}

function auditVerify(out: Output): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const line = out.statusLine();
    const { entries, serverSays } = await fetchAudit(api, (count) => line.show(`${count} entries read`));
    line.finish();
    const verdict = verifyAuditChain(entries);
    const good = verdict.ok && serverSays.ok;
    if (good) out.say(`Good: ${entries.length} entries, each bound to the one before. Last hash: ${verdict.lastHash}`);
    else if (!verdict.ok)
      out.say(`Broken at entry ${verdict.brokenAtIndex}: ${verdict.what}. It or one before it was altered or removed.`);
    else out.say(`The server itself says that its log is broken at entry ${serverSays.brokenAtIndex ?? 'unknown'}.`);
    const document = { entries: entries.length, chain: verdict, serverSays };
    return { document, exitStatus: good ? EXIT.ok : EXIT.corrupt };
  });
}

function addAuditCommands(program: Command, finish: Finish): void {
  const group = addGroup(program, 'audit', 'see who did what, and that nothing was struck out');
  const listCommand = addCommand(group, {
    usage: 'list',
    summary: 'list what was done, newest first',
    examples: ['holdfast audit list --limit 20'],
  }).option('--limit <N>', 'how many entries', '50');
  onRun<{ limit: string }>(listCommand, finish, auditList);
  const verifyCommand = addCommand(group, {
    usage: 'verify',
    summary: 'compute the hash chain of the whole log on this machine',
    details: 'Keep the last hash somewhere else: it also shows entries cut off at the end.',
    examples: ['holdfast audit verify'],
  });
  onRun(verifyCommand, finish, (out) => auditVerify(out));
}

export function addPeopleCommands(program: Command, finish: Finish): void {
  addTokenCommands(program, finish);
  addAuditCommands(program, finish);
}
