import { describe, expect, it } from 'vitest';
import { fleetCosts } from '../../../../cli/preflight/fleet-cost.ts';
import { type PreflightRequest, runPreflight } from '../../../../cli/preflight/preflight.ts';
import type { PreflightRelease } from '../../../../cli/preflight/release.ts';

function release(sequence: number, sizeBytes: number): PreflightRelease {
  const folder = `releases/acme-cam/stable/${sequence}`;
  const image = {
    component: 'rootfs',
    sizeBytes,
    sha256: 'ab'.repeat(32),
    targetPath: `${folder}/rootfs.img`,
    blockMap: { targetPath: `${folder}/rootfs.blocks`, sizeBytes: 56, sha256: 'cd'.repeat(32) },
  };
  return {
    content: {
      releasePath: `${folder}/release.suit`,
      vendor: 'acme.example',
      hardwareClass: 'acme-cam',
      channel: 'stable',
      version: `${sequence}.0.0`,
      sequence,
      floorSequence: 0,
      buildUnixS: 1_790_000_000,
      images: [image],
    },
    files: new Map([['rootfs', { image: '/nowhere/rootfs.img', blockMap: '/nowhere/rootfs.blocks' }]]),
  };
}

/** What is refused here needs no server: the folder is never made. */
const request = (changes: Partial<PreflightRequest>): PreflightRequest => ({
  from: release(1, 4096),
  to: release(2, 8192),
  slotBytes: new Map(),
  directory: '/nowhere',
  timeoutMs: 1000,
  nowUnixS: 1_790_000_000,
  signal: new AbortController().signal,
  onState: () => undefined,
  onUpload: () => ({ update: () => undefined, finish: () => undefined }),
  ...changes,
});

describe('what a preflight refuses without a device', () => {
  it('is an image of one byte more than its slot', async () => {
    const { ok, refusal } = await runPreflight(request({ slotBytes: new Map([['rootfs', 8191]]) }));
    expect(ok).toBe(false);
    expect(refusal).toMatchObject({ outcome: 'refused', by: 'preflight', code: 'image-larger-than-slot' });
  });

  it('is not an image that fills its slot: that one goes on, to a folder that is not there', async () => {
    await expect(runPreflight(request({ slotBytes: new Map([['rootfs', 8192]]) }))).rejects.toThrow('ENOENT');
  });

  it('is the very release that devices run', async () => {
    const { refusal } = await runPreflight(request({ to: release(1, 8192) }));
    expect(refusal).toMatchObject({ by: 'preflight', code: 'sequence-not-newer' });
  });
});

describe('the data cost of a fleet', () => {
  const fetched = { fetchedBytes: 2_500_000, imageBytes: 8_000_000, said: '' };
  const flight = { outcome: 'confirmed', by: 'device', code: 'confirmed', detail: '' } as const;
  const devices = [
    { ...flight, delta: 'without', fetched },
    { ...flight, delta: 'with', fetched: null },
  ] as const;

  it('is what one device fetched, for each, at a price for a million bytes', () => {
    expect(fleetCosts({ devices }, 400, 0.05)).toEqual([{ delta: 'without', bytes: 1_000_000_000, price: 50 }]);
  });

  it('has no price where none was given', () => {
    expect(fleetCosts({ devices }, 2, null)).toEqual([{ delta: 'without', bytes: 5_000_000, price: null }]);
  });
});
