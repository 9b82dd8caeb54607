/**
 * One SQLite file: opening it, what it means when it is damaged, transactions, and queries.
 *
 * Everything inside a transaction is synchronous: better-sqlite3 has one connection, and an `await` in the middle would
 * let another request's statements into it. Kysely builds and types the queries; they run here, on cached statements.
 * The file is WAL. `durable` transactions are on the medium when they return (synchronous=FULL); `relaxed` ones survive a
 * kill of the process, and after a power cut the newest of them may be missing: polls, presence and telemetry only.
 */
import { closeSync, openSync } from 'node:fs';
import Database from 'better-sqlite3';
import {
  type Compilable,
  type CompiledQuery,
  DummyDriver,
  Kysely,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely';
import { EXIT, errorText, Fault, systemErrorCode } from '../../platform/fault.ts';
import { APPLICATION_ID, MIGRATIONS } from './migrations.ts';
import type { Schema } from './schema.ts';

/** Files larger than this are not walked at start: it would take too long, and a damaged page is found when it is read. */
const QUICK_CHECK_CAP_PAGES = 16_384;

export type Durability = 'durable' | 'relaxed';

interface Built<Row> {
  compile(): CompiledQuery<Row>;
}

export class Sqlite {
  /** Builds queries; never runs them (its driver does nothing). */
  readonly build = new Kysely<Schema>({
    dialect: {
      createAdapter: () => new SqliteAdapter(),
      createDriver: () => new DummyDriver(),
      createIntrospector: (db) => new SqliteIntrospector(db),
      createQueryCompiler: () => new SqliteQueryCompiler(),
    },
  });
  readonly #path: string;
  readonly #database: Database.Database;
  readonly #statements = new Map<string, Database.Statement<unknown[]>>();
  #durability: Durability = 'durable';

  /** Creates the file when there is none. Faults: `database-corrupt`, `database-too-new`, `database-locked`. */
  constructor(path: string) {
    this.#path = path;
    this.#database = openDatabase(path);
  }

  get inTransaction(): boolean {
    return this.#database.inTransaction;
  }

  /** Runs `work` whole or not at all; within another transaction of the same durability, as a part of it. */
  transact<T>(durability: Durability, work: () => T): T {
    try {
      if (durability !== this.#durability) {
        this.#database.pragma(`synchronous = ${durability === 'durable' ? 'FULL' : 'NORMAL'}`);
        this.#durability = durability;
      }
      return this.#database.transaction(work).immediate();
    } catch (error) {
      throw faultOfSqlite(error, this.#path) ?? error;
    }
  }

  /** A statement by its text, prepared once. */
  prepare<Row>(sql: string): Database.Statement<unknown[], Row> {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#database.prepare<unknown[]>(sql);
      this.#statements.set(sql, statement);
    }
    return statement as Database.Statement<unknown[], Row>;
  }

  all<Row>(query: Built<Row>): Row[] {
    const { sql, parameters } = query.compile();
    return this.prepare<Row>(sql).all(...parameters);
  }

  first<Row>(query: Built<Row>): Row | undefined {
    const { sql, parameters } = query.compile();
    return this.prepare<Row>(sql).get(...parameters);
  }

  /** For insert, update and delete. */
  run(query: Compilable): { readonly changes: number; readonly lastInsertRowid: number } {
    const { sql, parameters } = query.compile();
    const { changes, lastInsertRowid } = this.prepare<unknown>(sql).run(...parameters);
    return { changes, lastInsertRowid: Number(lastInsertRowid) };
  }

  close(): void {
    this.#statements.clear();
    this.#database.close();
  }
}

function openDatabase(path: string): Database.Database {
  let database: Database.Database | undefined;
  try {
    // Made by us first, so that it (and with it SQLite's companion files) is never readable by others.
    closeSync(openSync(path, 'a', 0o600));
    database = new Database(path, { timeout: 5000 });
    refuseForeign(database, path);
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = FULL');
    database.pragma('foreign_keys = ON');
    database.pragma('trusted_schema = OFF');
    refuseDamaged(database, path);
    migrate(database, path);
    return database;
  } catch (error) {
    database?.close();
    throw faultOfSqlite(error, path) ?? error;
  }
}

function refuseForeign(database: Database.Database, path: string): void {
  const id = database.pragma('application_id', { simple: true });
  const tables = database.prepare<[], { n: number }>('SELECT count(*) AS n FROM sqlite_schema').get()?.n ?? 0;
  if (id === APPLICATION_ID || (id === 0 && tables === 0)) return;
  throw corrupt(path, 'the database belongs to another program');
}

function refuseDamaged(database: Database.Database, path: string): void {
  if (Number(database.pragma('page_count', { simple: true })) > QUICK_CHECK_CAP_PAGES) return;
  const found: unknown = database.pragma('quick_check(1)', { simple: true });
  if (found !== 'ok') throw corrupt(path, `the database is damaged (${String(found)})`);
}

function migrate(database: Database.Database, path: string): void {
  const version = Number(database.pragma('user_version', { simple: true }));
  if (version > MIGRATIONS.length) {
    throw new Fault({
      code: 'database-too-new',
      what: `the database has version ${version}; this server knows versions up to ${MIGRATIONS.length}`,
      where: path,
      cure: 'Start the newer server that wrote it, or restore the backup that was made before it was upgraded.',
      exitStatus: EXIT.environment,
    });
  }
  database
    .transaction(() => {
      for (const script of MIGRATIONS.slice(version)) database.exec(script);
      database.pragma(`application_id = ${APPLICATION_ID}`);
      database.pragma(`user_version = ${MIGRATIONS.length}`);
    })
    .exclusive();
}

function corrupt(path: string, what: string, cause?: unknown): Fault {
  return new Fault({
    code: 'database-corrupt',
    what,
    where: path,
    cure: 'Stop the server, move db.sqlite, db.sqlite-wal and db.sqlite-shm aside, and put a backup of db.sqlite in their place.',
    exitStatus: EXIT.corrupt,
    cause,
  });
}

/** What SQLite says, in words and with a cure. Undefined for everything that is a bug. */
function faultOfSqlite(error: unknown, path: string): Fault | undefined {
  if (error instanceof Fault) return undefined;
  const code = systemErrorCode(error) ?? '';
  if (code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB') {
    return corrupt(path, `the database is damaged, or is no SQLite file (${errorText(error)})`, error);
  }
  const facts: Record<string, { code: string; what: string; cure: string }> = {
    SQLITE_BUSY: {
      code: 'database-locked',
      what: 'another process holds the database',
      cure: 'Stop the other server that runs on this data folder.',
    },
    SQLITE_FULL: { code: 'disk-full', what: 'the disk is full', cure: 'Free some space; nothing that stood is lost.' },
    SQLITE_CANTOPEN: {
      code: 'database-unreadable',
      what: 'the database cannot be opened',
      cure: 'Check that the data folder exists and belongs to this user.',
    },
    SQLITE_READONLY: {
      code: 'database-unreadable',
      what: 'the database cannot be written',
      cure: 'Check that the data folder and its files belong to this user.',
    },
  };
  const known = Object.entries(facts).find(([prefix]) => code.startsWith(prefix))?.[1];
  return known && new Fault({ ...known, where: path, exitStatus: EXIT.environment, cause: error });
}
