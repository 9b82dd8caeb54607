/**
 * Releases of large images as directories that the agent installs from, one for each way that an image can travel:
 * `raw` (the image as it is), `packed` (blocks, each compressed) and `delta` (a recipe from the image in the other slot).
 * A directory has its own way and no other: an installation from it has used that way, or has failed.
 */
import { createReadStream } from 'node:fs';
import { copyFile, link, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Action, DEVICE_PATHS } from '../../protocol/device-api.ts';
import { transportPaths } from '../../protocol/image-transport.ts';
import { BLOCK_BYTES, BlockMapBuilder, encodeBlockMap } from '../../trust/blocks.ts';
import { consistentPath } from '../../trust/tuf/metadata.ts';
import { type HashedImage, TestMaker } from '../sim/release-fixture.ts';

export const TRAVELS = ['raw', 'packed', 'delta'] as const;
export type Travel = (typeof TRAVELS)[number];

export interface HashedFile extends HashedImage {
  readonly path: string;
}

export interface AgentReleases {
  readonly factoryRoot: Uint8Array;
  readonly action: Action;
  /** Of each way that was asked for. */
  readonly directories: Readonly<Partial<Record<Travel, string>>>;
  readonly old: HashedFile;
  readonly fresh: HashedFile;
}

export interface ReleaseFiles {
  readonly old: string;
  readonly fresh: string;
  /** The image as packed blocks, as the server makes them. */
  readonly packed?: string;
  readonly recipe?: string;
}

/** Release 1 is what the device runs, release 2 is what it is offered. */
export async function makeAgentReleases(folder: string, files: ReleaseFiles): Promise<AgentReleases> {
  const maker = new TestMaker();
  const [old, fresh] = await Promise.all([hashFile(files.old), hashFile(files.fresh)]);
  maker.release({ sequence: 1, version: '1.0.0', images: { rootfs: old } });
  const action = maker.release({ sequence: 2, version: '2.0.0', images: { rootfs: fresh } });
  const directories: Partial<Record<Travel, string>> = {};
  const place = async (travel: Travel, file: string | undefined, path: string): Promise<void> => {
    if (file === undefined) return;
    const directory = join(folder, travel);
    await writeMetadata(maker, directory);
    await linkTo(file, join(directory, path));
    directories[travel] = directory;
  };
  const inTransport = (path: string): string => join('transport', path.slice(DEVICE_PATHS.transport.length + 1));
  const image = `${dirname(action.releasePath)}/rootfs.img`;
  await place('raw', files.fresh, join('targets', consistentPath(image, fresh.sha256)));
  await place('packed', files.packed, inTransport(transportPaths.blocks(fresh.sha256, 'zstd')));
  await place('delta', files.recipe, inTransport(transportPaths.recipe(fresh.sha256, old.sha256)));
  return { factoryRoot: maker.factoryRoot, action, directories, old, fresh };
}

async function writeMetadata(maker: TestMaker, directory: string): Promise<void> {
  const files = [
    ...[...maker.metadata].map(([name, bytes]) => [join('metadata', name), bytes] as const),
    ...[...maker.files].map(([path, bytes]) => [join('targets', path), bytes] as const),
  ];
  for (const [path, bytes] of files) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), bytes);
  }
}

async function linkTo(file: string, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await link(file, path).catch(() => copyFile(file, path));
}

export async function hashFile(path: string): Promise<HashedFile> {
  const builder = new BlockMapBuilder();
  for await (const chunk of createReadStream(path, { highWaterMark: BLOCK_BYTES })) builder.update(chunk);
  const { map, imageSizeBytes, sha256 } = builder.finish();
  return { path, sizeBytes: imageSizeBytes, sha256, blockMap: encodeBlockMap(map) };
}
