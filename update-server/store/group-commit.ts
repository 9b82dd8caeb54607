/**
 * Durable transactions of many requests, with one sync for all of them. A sync stops the whole process for some
 * milliseconds; with one for each, a few thousand devices that state new secrets at once would be served by the disk alone.
 *
 * Invariants: each work is whole or not at all, and sees what the ones before it did. Nobody has an answer before the
 * commit that holds it is on the medium; where that fails, nobody of the group has one. A work that throws takes back its
 * own changes and no others.
 */
import type { Sqlite } from './database.ts';

interface Waiting {
  readonly work: () => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export class GroupCommit {
  readonly #db: Sqlite;
  readonly #waiting: Waiting[] = [];

  constructor(db: Sqlite) {
    this.#db = db;
  }

  /** `work` is synchronous, and runs once the requests that are at hand have brought theirs. */
  run<T>(work: () => T): Promise<T> {
    return new Promise<unknown>((resolve, reject) => {
      this.#waiting.push({ work, resolve, reject });
      if (this.#waiting.length === 1) setImmediate(() => this.flush());
    }) as Promise<T>;
  }

  /** What waits is done now: before the database is closed. */
  flush(): void {
    const group = this.#waiting.splice(0);
    if (group.length === 0) return;
    try {
      const answers = this.#db.transact('durable', () => group.map((one) => this.#attempt(one)));
      for (const answer of answers) answer();
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
  }

  /** How the work is answered, once it is on the medium. */
  #attempt({ work, resolve, reject }: Waiting): () => void {
    try {
      const value = this.#db.transact('durable', work);
      return () => resolve(value);
    } catch (error) {
      // SQLite has given up the whole transaction (a full disk): what follows must not run outside of one.
      if (!this.#db.inTransaction) throw error;
      return () => reject(error);
    }
  }
}
