/**
 * `holdfast release export`: a directory from which `holdfast-agent install` and `verify` take a release without a
 * network: `metadata/` and `targets/`, as the server serves them.
 *
 * Invariants: every file is checked against the signed metadata before it has its name; the timestamp is written last,
 * so that a directory without it is not finished. What is there already and right is not fetched again.
 */
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { faultOfRefusal } from '../../keys/base-metadata.ts';
import { nodeDisk } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import type { Verdict } from '../../trust/refusal.ts';
import { findRelease, findTarget, type TargetDescription } from '../../trust/tuf/listing.ts';
import type { ApiClient } from '../api-client.ts';
import { faultOnDisk, fetchArtifact } from '../artifact-files.ts';
import { addCommand, type Finish, type Outcome, onRun } from '../command.ts';
import type { Output } from '../output.ts';
import { formatBytes } from '../progress.ts';
import { metadataOfServer, type ServerMetadata } from '../server-metadata.ts';
import { withServer } from '../session.ts';

interface ExportOptions {
  readonly out: string;
  readonly root?: string;
}

function exportRelease(out: Output, releasePath: string, options: ExportOptions): Promise<Outcome> {
  const directory = resolve(options.out);
  return withServer(out, async ({ api, profile }) => {
    const metadata = await metadataOfServer(api, profile, options.root);
    const files = filesOf(metadata, releasePath);
    let fetchedBytes = 0;
    for (const [label, { sizeBytes, sha256, consistentPath }] of files) {
      const path = join(directory, 'targets', consistentPath);
      fetchedBytes += await fetchArtifact(out, api, { label, path, sizeBytes, sha256 });
    }
    await keepMetadata(api, directory, metadata);
    const totalBytes = files.reduce((sum, [, file]) => sum + file.sizeBytes, 0);
    out.say(
      `${directory} holds ${releasePath}: ${formatBytes(totalBytes)}, of which ${formatBytes(fetchedBytes)} came now.`,
    );
    out.next(
      'copy the directory to a stick (not needed if this is one), and on the device',
      'holdfast-agent install DIR --config FILE',
    );
    return { document: { directory, releasePath, totalBytes, fetchedBytes } };
  });
}

const TIMESTAMP = 'timestamp.json';
const IN_LIST = 'See holdfast release list.';

/** Everything that the release leans on, the small files first. */
function filesOf({ targets }: ServerMetadata, releasePath: string): [label: string, file: TargetDescription][] {
  const need = <T>(verdict: Verdict<T>): T => {
    if (!verdict.ok) throw faultOfRefusal(verdict, releasePath, IN_LIST);
    return verdict.value;
  };
  const { images } = need(findRelease(targets, releasePath)).entry;
  const paths = [releasePath, ...images.map(({ blockMap }) => blockMap), ...images.map(({ image }) => image)];
  return paths.map((path) => [path, need(findTarget(targets, path))]);
}

/** Every root there ever was: nobody knows which one the device trusts. The device verifies them, from its own on. */
async function keepMetadata(api: ApiClient, directory: string, metadata: ServerMetadata): Promise<void> {
  const files = new Map(metadata.files);
  for (const { version, bytes } of metadata.roots) files.set(`${version}.root.json`, bytes);
  for (let version = (metadata.roots[0]?.version ?? 1) - 1; version > 0; version -= 1) {
    const bytes = await api.metadata(`${version}.root.json`);
    if (bytes === undefined) break;
    files.set(`${version}.root.json`, bytes);
  }
  const folder = join(directory, 'metadata');
  try {
    await nodeDisk.makeDirectory(folder, 0o755);
    const timestampLast = [...files].sort(([a], [b]) => Number(a === TIMESTAMP) - Number(b === TIMESTAMP));
    for (const [name, bytes] of timestampLast) await writeDurably(nodeDisk, join(folder, name), bytes, 0o644);
  } catch (error) {
    throw faultOnDisk(error, folder);
  }
}

export function addExportCommand(group: Command, finish: Finish): void {
  const command = addCommand(group, {
    usage: 'export RELEASE',
    summary: 'put a published release into a directory, for devices without a network',
    details:
      'Fetches metadata, envelope, block maps and images from the server and checks them. The device verifies everything again.',
    examples: ['holdfast release export releases/acme-cam/stable/2/release.suit --out /media/stick'],
  })
    .requiredOption('--out <FOLDER>', 'where it goes; what is right there already is kept')
    .option('--root <FILE>', 'the root to trust, instead of the one met at login');
  onRun<ExportOptions>(command, finish, (out, options, releasePath = '') => exportRelease(out, releasePath, options));
}
