import { describe, expect, it } from 'vitest';
import { fetchAudit, hashEntry, verifyAuditChain } from '../../../cli/audit-chain.ts';
import type { AuditEntry } from '../../../protocol/operator-api.ts';
import { auditHash } from '../../../update-server/store/audit-log.ts';
import { faultCode } from '../keys/workshop.ts';

function log(length: number): AuditEntry[] {
  const entries: AuditEntry[] = [];
  let hash = '0'.repeat(64);
  for (let index = 0; index < length; index += 1) {
    const body = {
      index,
      atUnixMs: 1000 + index,
      actor: 'anna',
      action: 'rollout-start',
      subject: `r-${index}`,
      detail: 'ü “quoted”',
    };
    hash = auditHash(hash, body);
    entries.push({ ...body, hash });
  }
  return entries;
}

describe('the audit chain', () => {
  it('is the one that the server writes', () => {
    const entries = log(5);
    expect(verifyAuditChain(entries)).toEqual({ ok: true, lastHash: entries[4]?.hash });
    const { hash: _hash, ...body } = entries[0] ?? log(1)[0] ?? fail();
    expect(hashEntry('0'.repeat(64), body)).toBe(entries[0]?.hash);
  });

  it.each(['atUnixMs', 'actor', 'action', 'subject', 'detail', 'hash'] as const)(
    'breaks where %s was altered',
    (field) => {
      const entries = log(5);
      const altered = entries.map((entry, index) =>
        index === 2 ? { ...entry, [field]: field === 'atUnixMs' ? 1 : `${entry[field]}x` } : entry,
      );
      expect(verifyAuditChain(altered)).toMatchObject({ ok: false, brokenAtIndex: 2 });
    },
  );

  it('breaks where an entry was removed, swapped or inserted', () => {
    const entries = log(5);
    expect(verifyAuditChain(entries.toSpliced(2, 1))).toMatchObject({ ok: false, brokenAtIndex: 2 });
    expect(verifyAuditChain(entries.toSpliced(0, 1))).toMatchObject({ ok: false, brokenAtIndex: 0 });
    const [first, second] = entries;
    if (first === undefined || second === undefined) throw new Error('too short');
    expect(verifyAuditChain([second, first, ...entries.slice(2)])).toMatchObject({ ok: false, brokenAtIndex: 0 });
    expect(verifyAuditChain(entries.toSpliced(1, 0, second))).toMatchObject({ ok: false, brokenAtIndex: 2 });
  });

  it('is read page by page, oldest first', async () => {
    const entries = log(1203);
    const asked: (number | undefined)[] = [];
    const audit = async ({ limit, before }: { limit: number; before?: number }) => {
      asked.push(before);
      const page = entries
        .filter((entry) => before === undefined || entry.index < before)
        .toReversed()
        .slice(0, limit);
      return { entries: page, chain: { ok: true, entries: entries.length, brokenAtIndex: null } };
    };
    const fetched = await fetchAudit({ audit }, () => undefined);
    expect(fetched.entries).toEqual(entries);
    expect(asked).toEqual([undefined, 703, 203]);
  });

  it('ends when a server pages in a circle', async () => {
    const audit = async () => ({
      entries: log(9).slice(4).toReversed(),
      chain: { ok: true, entries: 9, brokenAtIndex: null },
    });
    expect(await faultCode(() => fetchAudit({ audit }, () => undefined))).toBe('answer-malformed');
  });
});

function fail(): never {
  throw new Error('no entry');
}
