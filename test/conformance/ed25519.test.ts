import { expect, it } from 'vitest';
import { verifyP256 } from '../../trust/crypto.ts';
import { verifyEd25519 } from '../../trust/signature.ts';
import { describeVectors, fromHex, readJson } from './vectors.ts';

interface Case {
  readonly tcId: number;
  readonly comment: string;
  readonly msg: string;
  readonly sig: string;
  readonly result: 'valid' | 'invalid' | 'acceptable';
}

interface Suite {
  readonly numberOfTests: number;
  readonly testGroups: readonly {
    readonly publicKey: { readonly pk?: string; readonly uncompressed?: string };
    readonly tests: readonly Case[];
  }[];
}

describeVectors('wycheproof-ed25519', 'wycheproof', (path, counts) => {
  const suite = readJson(path, 'ed25519_test.json') as Suite;
  for (const { publicKey, tests } of suite.testGroups) {
    it.each(tests)('case $tcId ($comment) is $result', ({ msg, sig, result }) => {
      const verdict = verifyEd25519(fromHex(publicKey.pk ?? ''), fromHex(msg), fromHex(sig));
      expect(verdict).toBe(result === 'valid');
      counts.add(result);
    });
  }
  it('ran them all', () => expect(counts.total).toBe(suite.numberOfTests));
});

describeVectors('wycheproof-ecdsa-p256', 'wycheproof', (path, counts) => {
  const suite = readJson(path, 'ecdsa_secp256r1_sha256_p1363_test.json') as Suite;
  for (const { publicKey, tests } of suite.testGroups) {
    it.each(tests)('case $tcId ($comment) is $result', ({ msg, sig, result }) => {
      const verdict = verifyP256(fromHex(publicKey.uncompressed ?? ''), fromHex(msg), fromHex(sig));
      expect(verdict).toBe(result === 'valid');
      counts.add(result);
    });
  }
  it('ran them all', () => expect(counts.total).toBe(suite.numberOfTests));
});
