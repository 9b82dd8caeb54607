/** Published releases. What the signed targets list is the truth; this table only remembers it. */
import type { ReleaseView } from '../../protocol/operator-api.ts';
import type { Actor } from '../core/ports.ts';
import type { TransportFacts } from '../core/transport-plan.ts';
import { appendAudit } from './audit-log.ts';
import type { Sqlite } from './database.ts';

export interface ReleaseRow {
  readonly release_path: string;
  readonly hardware_class: string;
  readonly channel: string;
  readonly version: string;
  readonly sequence: number;
  readonly floor_sequence: number;
  readonly images: string;
  readonly published_unix_ms: number;
  readonly withdrawn: number;
}

export function releaseOf(row: ReleaseRow): ReleaseView {
  return {
    releasePath: row.release_path,
    hardwareClass: row.hardware_class,
    channel: row.channel,
    version: row.version,
    sequence: row.sequence,
    floorSequence: row.floor_sequence,
    images: JSON.parse(row.images) as ReleaseView['images'],
    publishedUnixMs: row.published_unix_ms,
  };
}

export const findReleaseRow = (db: Sqlite, releasePath: string): ReleaseRow | undefined =>
  db.prepare<ReleaseRow>('SELECT * FROM releases WHERE release_path = ?').get(releasePath);

/** Newest first. */
export function listReleases(db: Sqlite): ReleaseView[] {
  const query = db.build
    .selectFrom('releases')
    .selectAll()
    .where('withdrawn', '=', 0)
    .orderBy('published_unix_ms', 'desc')
    .orderBy('sequence', 'desc')
    .orderBy('release_path');
  return db.all(query).map(releaseOf);
}

const INSTALLED = `
  SELECT hardware_class, channel, installed_sequence, count(*) AS devices FROM devices
  WHERE enrolment = 'enrolled' AND installed_sequence IS NOT NULL
  GROUP BY hardware_class, channel, installed_sequence`;

interface InstalledRow {
  readonly hardware_class: string;
  readonly channel: string | null;
  readonly installed_sequence: number;
  readonly devices: number;
}

export function transportFacts(db: Sqlite): TransportFacts {
  const releases = db.all(db.build.selectFrom('releases').selectAll());
  return {
    releases: releases.map((row) => ({ ...releaseOf(row), withdrawn: row.withdrawn === 1 })),
    installed: db
      .prepare<InstalledRow>(INSTALLED)
      .all()
      .map((row) => ({
        hardwareClass: row.hardware_class,
        channel: row.channel,
        sequence: row.installed_sequence,
        devices: row.devices,
      })),
  };
}

export interface PublicationRecord {
  readonly targetsVersion: number;
  readonly releases: readonly Omit<ReleaseView, 'publishedUnixMs'>[];
  readonly actor: Actor;
  readonly nowUnixMs: number;
}

export function recordPublication(db: Sqlite, publication: PublicationRecord): ReleaseView[] {
  const { releases, nowUnixMs } = publication;
  const known = new Set(listReleases(db).map((release) => release.releasePath));
  const listed = new Set(releases.map((release) => release.releasePath));
  for (const release of releases) upsert(db, release, nowUnixMs);
  const withdrawn = [...known].filter((path) => !listed.has(path));
  for (const path of withdrawn) {
    db.run(db.build.updateTable('releases').set({ withdrawn: 1 }).where('release_path', '=', path));
  }
  const fresh = [...listed].filter((path) => !known.has(path));
  // Recorded again at every start, in case the last one was cut off: what the audit says already it does not say twice.
  const first = keepVersion(db, publication.targetsVersion, nowUnixMs);
  if (fresh.length + withdrawn.length === 0 && !first) return listReleases(db);
  const detail = [`targets version ${publication.targetsVersion}`]
    .concat(fresh.length > 0 ? [`new: ${fresh.join(', ')}`] : [])
    .concat(withdrawn.length > 0 ? [`withdrawn: ${withdrawn.join(', ')}`] : [])
    .join('; ');
  const subject = fresh.length === 1 ? (fresh[0] ?? '') : `${listed.size} releases`;
  appendAudit(db, { actor: publication.actor, action: 'release.publish', subject, detail }, nowUnixMs);
  return listReleases(db);
}

/** False when this targets version was recorded before. */
function keepVersion(db: Sqlite, targetsVersion: number, nowUnixMs: number): boolean {
  const row = { targets_version: targetsVersion, recorded_unix_ms: nowUnixMs };
  const insert = db.build.insertInto('publications').values(row);
  return db.run(insert.onConflict((conflict) => conflict.doNothing())).changes === 1;
}

function upsert(db: Sqlite, release: Omit<ReleaseView, 'publishedUnixMs'>, nowUnixMs: number): void {
  const facts = {
    hardware_class: release.hardwareClass,
    channel: release.channel,
    version: release.version,
    sequence: release.sequence,
    floor_sequence: release.floorSequence,
    images: JSON.stringify(release.images),
    withdrawn: 0,
  };
  db.run(
    db.build
      .insertInto('releases')
      .values({ release_path: release.releasePath, ...facts, published_unix_ms: nowUnixMs })
      .onConflict((conflict) => conflict.column('release_path').doUpdateSet(facts)),
  );
}
