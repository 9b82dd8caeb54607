/** Releases with real images for tests of transport: stored, recorded as published, and told to whoever listens. */
import type { ReleaseView } from '../../../../protocol/operator-api.ts';
import { sha256Hex } from '../../../../trust/crypto.ts';
import { chunks } from '../repository/fixture.ts';
import { release } from '../store/fixture.ts';
import { type Testbed, until } from '../testbed.ts';

const BLOCK = 1024 * 1024;

/** Three blocks and a bit: text that packs, zeros, bytes that do not pack, text again. `version` changes some of it. */
export function imageOf(version: number): Uint8Array {
  const bytes = Buffer.alloc(3 * BLOCK + 5000);
  bytes.fill(`release text of line ${version % 2} `, 0, BLOCK);
  let state = 12345;
  for (let at = 2 * BLOCK; at < 3 * BLOCK; at += 1) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    bytes[at] = state >>> 16;
  }
  bytes.fill('what stands at the end ', 3 * BLOCK);
  bytes.write(`version ${version}`, 2 * BLOCK + 70_000);
  return new Uint8Array(bytes);
}

export async function store(bed: Testbed, bytes: Uint8Array): Promise<string> {
  const sha256 = sha256Hex(bytes);
  const outcome = await bed.artifacts.put(sha256, chunks(bytes), bytes.length);
  if (!outcome.ok) throw new Error(outcome.what);
  return sha256;
}

type Listed = Omit<ReleaseView, 'publishedUnixMs'>;

export function releaseOf(sequence: number, image: Uint8Array, hardwareClass = 'acme-cam'): Listed {
  return release(sequence, {
    hardwareClass,
    releasePath: `releases/${hardwareClass}/stable/${sequence}/release.suit`,
    images: [{ component: 'rootfs', sizeBytes: image.length, sha256: sha256Hex(image) }],
  });
}

let targetsVersion = 1;

/** Publishes exactly these, as the repository records it. */
export async function publish(bed: Testbed, ...releases: Listed[]): Promise<void> {
  targetsVersion += 1;
  const nowUnixMs = bed.clock.nowUnixMs();
  await bed.store.recordPublication({ targetsVersion, releases, actor: 'tester', nowUnixMs });
  for (const { releasePath } of releases) bed.events.emit({ kind: 'release', id: releasePath });
}

/** Waits until everything that was published lately is planned, and nothing is left to make. */
export async function settled(bed: Testbed): Promise<void> {
  await bed.preparation?.imageSizeBytes('');
  await until(() => bed.preparation?.queueLength === 0);
}
