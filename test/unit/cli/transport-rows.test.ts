import { expect, test } from 'vitest';
import { transportOf, transportRows } from '../../../cli/transport-rows.ts';
import type { ReleaseView, TransportState } from '../../../protocol/operator-api.ts';

const [OLD, NEW, OTHER] = ['a', 'b', 'c'].map((letter) => letter.repeat(64)) as [string, string, string];

const release = (sequence: number, sha256: string): ReleaseView => ({
  releasePath: `releases/acme-cam/stable/${sequence}/release.suit`,
  hardwareClass: 'acme-cam',
  channel: 'stable',
  version: `${sequence}.0.0`,
  sequence,
  floorSequence: 0,
  images: [{ component: 'rootfs', sizeBytes: 1024, sha256 }],
  publishedUnixMs: 0,
});
const form = (kind: TransportState['kind'], more: Partial<TransportState>): TransportState => ({
  ...{ imageSha256: NEW, kind, fromSha256: null, state: 'made', sizeBytes: null, donePercent: null, detail: '' },
  ...more,
});

test('a release shows how its images travel, each form with how far it is', () => {
  const all = {
    releases: [release(2, NEW), release(1, OLD)],
    transport: [
      form('blocks-zstd', { sizeBytes: 2048 }),
      form('blocks-gzip', { state: 'failed', detail: 'the disk is full' }),
      form('pieces', { state: 'queued' }),
      form('recipe', { fromSha256: OLD, state: 'making', donePercent: 40, detail: 'packing' }),
      form('recipe', { fromSha256: OTHER, sizeBytes: 100 }),
      form('pieces', { imageSha256: OLD, sizeBytes: 1 }),
    ],
  };
  expect(transportRows(release(2, NEW), all)).toEqual([
    ['rootfs as zstd', '2.0 KiB'],
    ['rootfs as gzip', 'failed: the disk is full'],
    ['rootfs as piece index', 'waits to be made'],
    ['rootfs as delta from 1.0.0', 'being made: packing, 40 %'],
    ['rootfs as delta from image cccccccccccc', '100 B'],
  ]);
  expect(transportOf(release(1, OLD), all)).toHaveLength(1);
});
