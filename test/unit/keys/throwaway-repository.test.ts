import { describe, expect, it } from 'vitest';
import { manifestOf, type ReleaseContent } from '../../../keys/release-content.ts';
import { ThrowawayRepository } from '../../../keys/throwaway-repository.ts';
import { utf8 } from '../../../trust/bytes.ts';
import { verifyRelease } from '../../../trust/release.ts';
import { decodeEnvelope } from '../../../trust/suit/envelope.ts';
import { verifyInitialRoot, verifySigned } from '../../../trust/tuf/repository.ts';
import { NOW_UNIX_S } from './workshop.ts';

function content(sequence: number): ReleaseContent {
  const folder = `releases/acme-cam/stable/${sequence}`;
  return {
    releasePath: `${folder}/release.suit`,
    vendor: 'acme.example',
    hardwareClass: 'acme-cam',
    channel: 'stable',
    version: `${sequence}.0.0`,
    sequence,
    floorSequence: 0,
    buildUnixS: NOW_UNIX_S,
    images: [
      {
        component: 'rootfs',
        sizeBytes: 4096,
        sha256: 'ab'.repeat(32),
        targetPath: `${folder}/rootfs.img`,
        blockMap: { targetPath: `${folder}/rootfs.blocks`, sizeBytes: 56, sha256: 'cd'.repeat(32) },
      },
    ],
  };
}

async function verdictOf(trusts: ThrowawayRepository, signs: ThrowawayRepository) {
  const root = verifyInitialRoot(trusts.root);
  if (!root.ok) throw new Error(root.detail);
  await signs.sign(content(1));
  const { envelope, targets } = await signs.sign(content(2));
  const verified = verifySigned(root.value, 'targets', utf8(targets));
  if (!verified.ok) return verified;
  const { releasePath } = content(2);
  const facts = { root: root.value, targets: verified.value, releasePath, envelope, device: content(2) };
  const release = verifyRelease({ ...facts, installedSequence: 1, floorSequence: 0 });
  const decoded = decodeEnvelope(envelope);
  return { ...release, manifest: decoded.ok ? decoded.value.manifest : undefined, listed: verified.value.targets };
}

describe('a throwaway repository', () => {
  it('signs exactly the content it is given, on top of what it signed before, as a device verifies it', async () => {
    const repository = await ThrowawayRepository.make(NOW_UNIX_S);
    const verdict = await verdictOf(repository, repository);
    expect(verdict).toMatchObject({ ok: true, value: { version: '2.0.0', sequence: 2 } });
    if (!('manifest' in verdict)) throw new Error('no manifest');
    expect(verdict.manifest).toEqual(manifestOf(content(2)));
    expect(Object.keys(verdict.listed)).toContain(content(1).releasePath);
  });

  it('is believed by nobody but those who have its own root', async () => {
    const [one, other] = [await ThrowawayRepository.make(NOW_UNIX_S), await ThrowawayRepository.make(NOW_UNIX_S)];
    expect(await verdictOf(one, other)).toMatchObject({ ok: false, code: 'metadata-threshold-not-met' });
  });

  it('says of itself that it is a rehearsal', async () => {
    const root = verifyInitialRoot((await ThrowawayRepository.make(NOW_UNIX_S)).root);
    expect(root.ok && root.value.holdfast.environment).toBe('rehearsal');
  });
});
