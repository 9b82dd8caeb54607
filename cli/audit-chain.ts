/**
 * The audit log's hash chain, computed on this machine and not taken from the server's word:
 *
 *   hash = SHA-256(hash of the entry before, hex ‖ canonical JSON of the entry without its hash); the first follows 64 zeros
 */
import type * as v from 'valibot';
import { EXIT, Fault } from '../platform/fault.ts';
import type { AuditAnswer, AuditEntry } from '../protocol/operator-api.ts';
import { concat, utf8 } from '../trust/bytes.ts';
import { sha256Hex } from '../trust/crypto.ts';
import { canonicalJson } from '../trust/json.ts';
import type { ApiClient } from './api-client.ts';

const BEFORE_THE_FIRST = '0'.repeat(64);
const PAGE = 500;
const ENTRIES_AT_MOST = 5_000_000;

export function hashEntry(previousHash: string, entry: Omit<AuditEntry, 'hash'>): string {
  const { index, atUnixMs, actor, action, subject, detail } = entry;
  return sha256Hex(concat(utf8(previousHash), canonicalJson({ index, atUnixMs, actor, action, subject, detail })));
}

export type ChainVerdict =
  | { readonly ok: true; readonly lastHash: string }
  | { readonly ok: false; readonly brokenAtIndex: number; readonly what: string };

/** `entries` oldest first, from index 0. */
export function verifyAuditChain(entries: readonly AuditEntry[]): ChainVerdict {
  let lastHash = BEFORE_THE_FIRST;
  for (const [position, entry] of entries.entries()) {
    if (entry.index !== position) return { ok: false, brokenAtIndex: position, what: `its number is ${entry.index}` };
    let hash: string;
    try {
      hash = hashEntry(lastHash, entry);
    } catch {
      return { ok: false, brokenAtIndex: position, what: 'it holds text that no server writes' };
    }
    if (hash !== entry.hash) return { ok: false, brokenAtIndex: position, what: 'its hash does not follow' };
    lastHash = entry.hash;
  }
  return { ok: true, lastHash };
}

/** The whole log, oldest first. New entries that appear while it is read are left out. */
export async function fetchAudit(
  api: Pick<ApiClient, 'audit'>,
  onProgress: (count: number) => void,
): Promise<{ entries: AuditEntry[]; serverSays: v.InferOutput<typeof AuditAnswer>['chain'] }> {
  const entries: AuditEntry[] = [];
  let before: number | undefined;
  for (;;) {
    const answer = await api.audit(before === undefined ? { limit: PAGE } : { limit: PAGE, before });
    entries.push(...answer.entries);
    onProgress(entries.length);
    const oldest = answer.entries.at(-1)?.index ?? 0;
    if (oldest === 0) return { entries: entries.reverse(), serverSays: answer.chain };
    if (oldest >= (before ?? Number.POSITIVE_INFINITY) || entries.length > ENTRIES_AT_MOST) {
      throw new Fault({
        code: 'answer-malformed',
        what: 'the server does not page through its audit log',
        cure: 'Check that server and command line are of the same version.',
        exitStatus: EXIT.remote,
      });
    }
    before = oldest;
  }
}
