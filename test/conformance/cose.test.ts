import { expect, it } from 'vitest';
import { concat, hex } from '../../trust/bytes.ts';
import { decodeSign1, type PinnedKey, type Sign1, sigStructure, verifySign1 } from '../../trust/cose.ts';
import type { Verdict } from '../../trust/refusal.ts';
import { describeVectors, filesOf, fromHex, readJson } from './vectors.ts';

interface Key {
  readonly crv: string;
  readonly x?: string;
  readonly y?: string;
  readonly x_hex?: string;
}

interface Example {
  readonly title: string;
  readonly fail?: boolean;
  readonly input: {
    readonly plaintext: string;
    readonly sign0?: { readonly key: Key; readonly external?: string; readonly alg?: string };
  };
  readonly intermediates?: { readonly ToBeSign_hex?: string };
  readonly output: { readonly cbor: string };
}

function pinned(key: Key): PinnedKey | undefined {
  if (key.crv === 'Ed25519') return { algorithm: 'ed25519', publicKey: fromHex(key.x_hex ?? '') };
  if (key.crv !== 'P-256') return undefined;
  const point = [key.x, key.y].map((text) => new Uint8Array(Buffer.from(text ?? '', 'base64url')));
  return { algorithm: 'esp256', publicKey: concat(Uint8Array.of(4), ...point) };
}

/** The examples carry their payload inside and say -7 and -8; our profile does neither, so both are lifted here. */
function verifyExample({ input, output }: Example, key: PinnedKey): Verdict<Sign1> {
  const sign1 = decodeSign1(fromHex(output.cbor));
  if (!sign1.ok) return sign1;
  return verifySign1({
    sign1: { ...sign1.value, payload: null },
    detachedPayload: sign1.value.payload ?? new Uint8Array(0),
    externalAad: fromHex(input.sign0?.external ?? ''),
    key,
    acceptPolymorphic: true,
  });
}

/** What our profile refuses although COSE has it, and why; everything else must verify, or say `fail`. */
const OUT_OF_PROFILE: Readonly<Record<string, string>> = {
  'eddsa-01.json': 'COSE_Sign',
  'eddsa-02.json': 'COSE_Sign',
  'eddsa-sig-02.json': 'Ed448',
  'ecdsa-01.json': 'COSE_Sign',
  'ecdsa-02.json': 'COSE_Sign',
  'ecdsa-03.json': 'COSE_Sign',
  'ecdsa-04.json': 'COSE_Sign',
  'ecdsa-sig-02.json': 'P-384',
  'ecdsa-sig-03.json': 'P-521',
  'ecdsa-sig-04.json': 'ES512 on another curve',
  'sign-pass-03.json': 'not tagged',
  'sign-pass-01.json': 'the algorithm stands outside the protected header',
};

const ANY_KEY: PinnedKey = { algorithm: 'ed25519', publicKey: new Uint8Array(32) };

for (const [suite, folder] of [
  ['cose-eddsa', 'cose-wg/eddsa-examples'],
  ['cose-ecdsa', 'cose-wg/ecdsa-examples'],
  ['cose-sign1', 'cose-wg/sign1-tests'],
] as const) {
  describeVectors(suite, folder, (path, counts) => {
    it.each(filesOf(path, '.json'))('%s', (name) => {
      const example = readJson(path, name) as Example;
      const key = example.input.sign0 === undefined ? undefined : pinned(example.input.sign0.key);
      const verdict = verifyExample(example, key ?? ANY_KEY);
      if (OUT_OF_PROFILE[name] !== undefined) {
        expect(verdict.ok).toBe(false);
        counts.add('out of profile and refused');
        return;
      }
      expect(verdict.ok ? 'accepted' : 'refused').toBe(example.fail === true ? 'refused' : 'accepted');
      counts.add(verdict.ok ? 'verified' : 'refused');
      if (verdict.ok) {
        const { protectedBytes, payload } = unwrapSign1(example);
        const structure = sigStructure(protectedBytes, fromHex(example.input.sign0?.external ?? ''), payload);
        expect(hex(structure)).toBe(example.intermediates?.ToBeSign_hex?.toLowerCase());
        // Without the tests' own exception the profile refuses the polymorphic algorithm.
        const strict = verifySign1({ sign1: verdict.value, detachedPayload: payload, key: key ?? ANY_KEY });
        expect(strict).toMatchObject({ ok: false, code: 'signature-algorithm-refused' });
      }
    });
  });
}

function unwrapSign1(example: Example): { protectedBytes: Uint8Array; payload: Uint8Array } {
  const sign1 = decodeSign1(fromHex(example.output.cbor));
  if (!sign1.ok || sign1.value.payload === null) throw new Error('no payload in the example');
  return { protectedBytes: sign1.value.protectedBytes, payload: sign1.value.payload };
}
