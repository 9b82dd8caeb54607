import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Sqlite } from '../../../../update-server/store/database.ts';
import { GroupCommit } from '../../../../update-server/store/group-commit.ts';

let folder: string;
let path: string;
let db: Sqlite;
let group: GroupCommit;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-group-'));
  path = join(folder, 'db.sqlite');
  db = new Sqlite(path);
  group = new GroupCommit(db);
});
afterEach(() => {
  db.close();
  rmSync(folder, { recursive: true });
});

/** Frames of the write-ahead log that end a transaction: each was synced. Format: sqlite.org/walformat.html. */
function commits(): number {
  const log = readFileSync(`${path}-wal`);
  const pageBytes = log.readUInt32BE(8);
  let count = 0;
  for (let at = 32; at + 24 + pageBytes <= log.length; at += 24 + pageBytes)
    if (log.readUInt32BE(at + 4) > 0) count += 1;
  return count;
}

const note = (version: number): number => {
  db.prepare('INSERT INTO publications (targets_version, recorded_unix_ms) VALUES (?, 0)').run(version);
  return version;
};
const noted = (): number[] =>
  db
    .prepare<{ v: number }>('SELECT targets_version AS v FROM publications ORDER BY v')
    .all()
    .map(({ v }) => v);

it('commits the works that come at once together, each with its own answer', async () => {
  const before = commits();
  const answers = await Promise.all([1, 2, 3, 4].map((version) => group.run(() => note(version))));
  expect([answers, noted(), commits() - before]).toEqual([[1, 2, 3, 4], [1, 2, 3, 4], 1]);
});

it('lets each work see what the ones before it did', async () => {
  const seen = await Promise.all([group.run(() => note(1)), group.run(noted)]);
  expect(seen).toEqual([1, [1]]);
});

it('takes back what a work did that throws, and nothing else', async () => {
  const wrong = group.run(() => {
    note(2);
    throw new Error('no');
  });
  const all = await Promise.allSettled([group.run(() => note(1)), wrong, group.run(() => note(3))]);
  expect(all.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect(noted()).toEqual([1, 3]);
});

it('answers nobody when SQLite gives up the whole transaction, and does nothing of what follows', async () => {
  const fatal = group.run(() => {
    db.prepare('ROLLBACK').run();
    throw new Error('disk full');
  });
  const all = await Promise.allSettled([group.run(() => note(1)), fatal, group.run(() => note(3))]);
  expect(all.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  expect(noted()).toEqual([]);
});

it('does what waits before the database is closed', async () => {
  const waiting = group.run(() => note(7));
  group.flush();
  expect(noted()).toEqual([7]);
  expect(await waiting).toBe(7);
});
