/**
 * The examples of draft-ietf-suit-manifest-37, appendix B. They are signed with ES256 (-7) and carry no key id, so they
 * verify only here, through the parameter that exists for tests; `verifyRelease` would refuse them all.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { hex } from '../../trust/bytes.ts';
import { type PinnedKey, verifySign1 } from '../../trust/cose.ts';
import type { Verdict } from '../../trust/refusal.ts';
import { decodeEnvelope, type Envelope, verifyManifestDigest } from '../../trust/suit/envelope.ts';
import { classIdentifier, vendorIdentifier } from '../../trust/suit/identifiers.ts';
import { decodeManifest } from '../../trust/suit/manifest.ts';
import { decodeManifestStructure } from '../../trust/suit/structure.ts';
import { Counts, describeVectors, filesOf, fromHex } from './vectors.ts';

/** The public key printed in appendix B. */
const KEY: PinnedKey = {
  algorithm: 'esp256',
  publicKey: fromHex(
    '048496811aae0baaabd26157189eecda26beaa8bf11b6f3fe6e2b5659c85dbc0ad' +
      '3b1f2a4b6c098131c0a36dacd1d78bd381dcdfb09c052db33991db7338b4a896',
  ),
};

/** Commands outside our set, by example: §B.4 A/B images (try-each), §B.5 load from external storage (copy). */
const REFUSED: Readonly<Record<string, string>> = {
  'example3.hex': 'suit-directive-try-each (15)',
  'example4.hex': 'suit-directive-copy (22)',
};
const SEQUENCE: Readonly<Record<string, number>> = {
  'example0.hex': 0,
  'example1.hex': 1,
  'example2.hex': 2,
  'example5.hex': 5,
};

function unwrap<T>(verdict: Verdict<T>): T {
  if (verdict.ok) return verdict.value;
  throw new Error(`${verdict.code}: ${verdict.detail}`);
}

describeVectors('suit-examples', 'suit-manifest', (path, counts) => {
  const signatures = new Counts();
  afterAll(() => console.log(`suit-signatures: ${signatures.total} cases, ${signatures}`));

  for (const name of filesOf(path, '.hex')) {
    const lines = readFileSync(join(path, name), 'utf8').trim().split(/\s+/);
    it.each(lines.map((line, index) => [index, line] as const))(`${name} envelope %i`, (_index, line) => {
      const envelope = unwrap(decodeEnvelope(fromHex(line)));
      verifySignatures(envelope);
      expect(verifyManifestDigest(envelope).ok).toBe(true);
      readManifest(name, envelope);
    });
  }

  function verifySignatures(envelope: Envelope): void {
    for (const sign1 of envelope.signatures) {
      const check = { sign1, detachedPayload: envelope.digestBytes, key: KEY };
      expect(verifySign1({ ...check, acceptPolymorphic: true }).ok).toBe(true);
      signatures.add('verified with -7 (ES256)');
      expect(verifySign1(check)).toMatchObject({ code: 'signature-algorithm-refused' });
      const other = envelope.digestBytes.map((byte, index) => (index === 9 ? byte ^ 1 : byte));
      expect(verifySign1({ ...check, detachedPayload: other, acceptPolymorphic: true })).toMatchObject({
        code: 'envelope-signature-invalid',
      });
    }
  }

  function readManifest(name: string, envelope: Envelope): void {
    const structure = decodeManifestStructure(envelope.manifest, envelope.severed);
    const refused = REFUSED[name];
    if (refused !== undefined) {
      expect(structure).toMatchObject({ code: 'command-refused', detail: expect.stringContaining(refused) });
      counts.add(`refused for ${refused}`);
      return;
    }
    if (name === 'example2.hex' && envelope.severed.size === 0) {
      expect(structure).toMatchObject({ code: 'envelope-malformed', detail: expect.stringContaining('severed') });
      counts.add('refused without their severed install');
      return;
    }
    const { sequence, components } = unwrap(structure);
    counts.add('decoded');
    expect(sequence).toBe(SEQUENCE[name]);
    for (const { parameters } of components) expect(parameters.imageSha256).toHaveLength(32);
    // Example 5 binds its first component only; our profile wants each bound.
    const { vendorId, classId } = components[0]?.parameters ?? {};
    expect(hex(vendorId ?? new Uint8Array(0))).toBe('fa6b4a53d5ad5fdfbe9de663e4d41ffe');
    expect(hex(classId ?? new Uint8Array(0))).toBe('1492af1425695e48bf429b2d51f2ab45');
    // Readable SUIT, and still not ours: the profile wants more.
    expect(decodeManifest(envelope.manifest, envelope.severed)).toMatchObject({ code: 'envelope-malformed' });
  }

  it('makes the identifiers of the draft', () => {
    expect(hex(vendorIdentifier('arm.com'))).toBe('fa6b4a53d5ad5fdfbe9de663e4d41ffe');
    expect(hex(classIdentifier('arm.com', 'suit'))).toBe('1492af1425695e48bf429b2d51f2ab45');
  });

  it('refuses a severed element that was changed, and one that no digest covers', () => {
    const [, , line] = readFileSync(join(path, 'example2.hex'), 'utf8').trim().split(/\s+/);
    const envelope = unwrap(decodeEnvelope(fromHex(line ?? '')));
    for (const [key, bytes] of envelope.severed) {
      const changed = new Map([...envelope.severed, [key, bytes.map((byte, at) => (at === 5 ? byte ^ 1 : byte))]]);
      expect(decodeManifestStructure(envelope.manifest, changed)).toMatchObject({ code: 'envelope-digest-mismatch' });
    }
    const added = new Map([...envelope.severed, [16, new Uint8Array(4)]]);
    expect(decodeManifestStructure(envelope.manifest, added)).toMatchObject({ code: 'envelope-digest-mismatch' });
  });
});
