import { readFileSync, statSync, writeFileSync } from 'node:fs';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Fault } from '../../../../platform/fault.ts';
import { APPLICATION_ID, MIGRATIONS } from '../../../../update-server/store/migrations.ts';
import { openSqliteStore } from '../../../../update-server/store/sqlite-store.ts';
import { certificate, claim, type Lab, openLab, publish, release } from './fixture.ts';

let lab: Lab;
beforeEach(() => {
  lab = openLab();
});
afterEach(() => lab.close());

function faultOf(open: () => unknown): Fault {
  try {
    open();
  } catch (error) {
    if (error instanceof Fault) return error;
    throw error;
  }
  throw new Error('it opened');
}

const audit = (detail: string) =>
  lab.store.appendAudit({ actor: 'tester', action: 'test', subject: 's', detail }, lab.nowUnixMs);

describe('a database file', () => {
  it('that is not SQLite, or another program’s, or from a newer server, is refused with a cure and left as it is', async () => {
    const garbage = `${lab.path}.garbage`;
    writeFileSync(garbage, Buffer.alloc(8192, 'not a database '));
    expect(faultOf(() => openSqliteStore(garbage))).toMatchObject({ code: 'database-corrupt', where: garbage });
    const foreign = `${lab.path}.foreign`;
    const other = new Database(foreign);
    other.exec('CREATE TABLE bookmarks (url TEXT)');
    other.close();
    const before = readFileSync(foreign);
    expect(faultOf(() => openSqliteStore(foreign)).what).toBe('the database belongs to another program');
    expect(readFileSync(foreign).equals(before)).toBe(true);
    await lab.store.close();
    const newer = new Database(lab.path);
    newer.pragma('user_version = 99');
    newer.close();
    expect(faultOf(() => openSqliteStore(lab.path)).code).toBe('database-too-new');
    const back = new Database(lab.path);
    back.pragma(`user_version = ${MIGRATIONS.length}`);
    back.close();
    await lab.reopen().catch(() => undefined);
    lab.store = openSqliteStore(lab.path);
  });

  it('with a damaged page is refused', async () => {
    for (let index = 0; index < 300; index += 1) await audit(`entry ${index}`);
    await lab.store.close();
    const bytes = readFileSync(lab.path);
    bytes.fill(0x5a, 4096 * 3, 4096 * 40);
    writeFileSync(`${lab.path}.damaged`, bytes);
    expect(faultOf(() => openSqliteStore(`${lab.path}.damaged`)).code).toBe('database-corrupt');
    lab.store = openSqliteStore(lab.path);
  });

  it('is readable by its owner only', () => {
    for (const path of [lab.path, `${lab.path}-wal`]) expect(statSync(path).mode & 0o077).toBe(0);
  });
});

describe('the audit log', () => {
  it('refuses to change or remove an entry', async () => {
    await audit('one');
    const direct = new Database(lab.path);
    expect(() => direct.prepare("UPDATE audit SET detail = 'two'").run()).toThrow('never changed');
    expect(() => direct.prepare('DELETE FROM audit').run()).toThrow('never removed');
    direct.close();
  });

  it('shows where somebody went around the triggers', async () => {
    for (const detail of ['one', 'two', 'three']) await audit(detail);
    expect(await lab.store.verifyAudit()).toEqual({ ok: true, entries: 3 });
    const direct = new Database(lab.path);
    direct.exec('DROP TRIGGER audit_is_never_changed; DROP TRIGGER audit_is_never_shortened');
    direct.exec("UPDATE audit SET detail = 'TWO' WHERE position = 1");
    expect(await lab.store.verifyAudit()).toEqual({ ok: false, brokenAtIndex: 1 });
    direct.exec("UPDATE audit SET detail = 'two' WHERE position = 1");
    expect(await lab.store.verifyAudit()).toEqual({ ok: true, entries: 3 });
    direct.exec('DELETE FROM audit WHERE position = 1');
    expect(await lab.store.verifyAudit()).toEqual({ ok: false, brokenAtIndex: 1 });
    direct.close();
  });

  it('takes any text there is, on one line', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary', maxLength: 300 }), async (text) => {
        const entry = await audit(text);
        expect(entry.detail).not.toMatch(/[\p{Cc}]/u);
      }),
      { numRuns: 60 },
    );
    expect((await lab.store.verifyAudit()).ok).toBe(true);
  });
});

describe('a publication', () => {
  const details = async () =>
    (await lab.store.listAudit({ limit: 10 })).map(({ action, detail }) => `${action}: ${detail}`);

  it('is in the audit once, however often it is recorded, and again when the targets changed', async () => {
    await publish(lab, release(1));
    await publish(lab, release(1));
    const [first, ...more] = await details();
    expect(first).toBe('release.publish: targets version 2; new: releases/acme-cam/stable/1/release.suit');
    expect(more).toEqual([]);
    await publish(lab, release(1), release(2));
    expect(await details()).toHaveLength(2);
    await lab.store.recordPublication({
      targetsVersion: 4,
      releases: [release(1), release(2)],
      actor: 'tester',
      nowUnixMs: 5,
    });
    expect((await details())[0]).toBe('release.publish: targets version 4');
  });

  it('that nothing but the words of the audit remembers, in a database of version 1, is not recorded again', async () => {
    const path = `${lab.path}.version-1`;
    const old = new Database(path);
    old.exec(MIGRATIONS[0] ?? '');
    old.pragma(`application_id = ${APPLICATION_ID}`);
    old.pragma('user_version = 1');
    const row = old.prepare('INSERT INTO audit VALUES (?, 1000, ?, ?, ?, ?, ?)');
    row.run(
      0,
      'tester',
      'release.publish',
      '1 releases',
      'targets version 12; withdrawn: releases/x/release.suit',
      'h',
    );
    row.run(1, 'tester', 'release.publish', '0 releases', 'targets version 3', 'h');
    row.run(2, 'tester', 'test', 'targets', 'targets version 5', 'h');
    old.close();
    const store = openSqliteStore(path);
    const record = (targetsVersion: number) =>
      store.recordPublication({ targetsVersion, releases: [], actor: 'server', nowUnixMs: 2000 });
    for (const version of [12, 3]) await record(version);
    expect(await store.listAudit({ limit: 10 })).toHaveLength(3);
    for (const version of [5, 1]) await record(version);
    expect(await store.listAudit({ limit: 10 })).toHaveLength(5);
    await store.close();
  });
});

describe('claims', () => {
  const enrol = (claimId: string, key: string) =>
    lab.store.enrolDevice({ claimId, certificate: certificate(claimId, key), nowUnixMs: lab.nowUnixMs });
  const A = 'a'.repeat(64);
  const B = 'b'.repeat(64);

  it('give the same key the same certificate again, and refuse another key with an alarm', async () => {
    await claim(lab, ['cam-0001']);
    expect((await enrol('cam-0001', A)).outcome).toBe('enrolled');
    expect(await enrol('cam-0001', A)).toMatchObject({ outcome: 'same-key', chainPem: 'certificate of cam-0001' });
    expect((await enrol('cam-0001', B)).outcome).toBe('other-key');
    const [newest] = await lab.store.listAudit({ limit: 1 });
    expect(newest).toMatchObject({ action: 'enrol.alarm', actor: 'device:cam-0001' });
  });

  it('refuse one key on two devices: a cloned card', async () => {
    await claim(lab, ['cam-0001', 'cam-0002']);
    await enrol('cam-0001', A);
    expect(await enrol('cam-0002', A)).toMatchObject({ outcome: 'key-of-other-device', deviceId: 'cam-0001' });
  });

  it('expire, but not for the key that used them in time', async () => {
    await claim(lab, ['cam-0001', 'cam-0002']);
    await enrol('cam-0001', A);
    lab.nowUnixMs += 2000 * 60_000;
    expect((await enrol('cam-0001', A)).outcome).toBe('same-key');
    expect((await enrol('cam-0002', B)).outcome).toBe('claim-expired');
  });

  it('are made all or none, and never over a living device', async () => {
    await claim(lab, ['cam-0002']);
    await expect(claim(lab, ['cam-0001', 'cam-0002'])).rejects.toThrow('ids taken: cam-0002');
    expect(await lab.store.findClaim('cam-0001')).toBeUndefined();
  });

  it('die with a revocation, with every certificate', async () => {
    await claim(lab, ['cam-0001']);
    await enrol('cam-0001', A);
    expect(await lab.store.findCertificate(A)).toMatchObject({ deviceId: 'cam-0001', revoked: false });
    expect(await lab.store.revokeDevice('cam-0001', 'tester', 'lost', lab.nowUnixMs)).toBe(true);
    expect(await lab.store.findCertificate(A)).toMatchObject({ revoked: true });
    expect((await enrol('cam-0001', A)).outcome).toBe('revoked');
    expect(await lab.store.revokeDevice('cam-9999', 'tester', 'lost', lab.nowUnixMs)).toBe(false);
  });

  it('have nonces for one use, one claim and a time, and no more than sixteen', async () => {
    await claim(lab, ['cam-0001']);
    const keep = (nonce: string) =>
      lab.store.keepNonce({
        nonce,
        claimId: 'cam-0001',
        expiresUnixMs: lab.nowUnixMs + 60_000,
        nowUnixMs: lab.nowUnixMs,
      });
    await keep('one');
    expect(await lab.store.takeNonce('one', 'cam-0001', lab.nowUnixMs)).toBe(true);
    expect(await lab.store.takeNonce('one', 'cam-0001', lab.nowUnixMs)).toBe(false);
    await keep('two');
    expect(await lab.store.takeNonce('two', 'cam-0002', lab.nowUnixMs)).toBe(false);
    await keep('three');
    expect(await lab.store.takeNonce('three', 'cam-0001', lab.nowUnixMs + 60_000)).toBe(false);
    for (let index = 0; index < 20; index += 1) {
      lab.nowUnixMs += 1;
      await keep(`n${index}`);
    }
    expect(await lab.store.takeNonce('n0', 'cam-0001', lab.nowUnixMs)).toBe(false);
    expect(await lab.store.takeNonce('n19', 'cam-0001', lab.nowUnixMs)).toBe(true);
  });
});
