import { generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ESCROW_CAP_BYTES } from '../../../protocol/credentials.ts';
import {
  commitmentOf,
  decodeEscrow,
  type EscrowHead,
  encodeEscrowHead,
  escrowKeyBinding,
  escrowMessage,
  verifyEscrowSignature,
} from '../../../protocol/escrow.ts';
import { ESCROW_CODES } from '../../../protocol/escrow-codes.ts';
import { ESCROW_MAX_TEXT_BYTES } from '../../../protocol/escrow-secrets.ts';
import { concat, hex } from '../../../trust/bytes.ts';

const FORMATS = readFileSync(join(import.meta.dirname, '../../../docs/FORMATS.md'), 'utf8');
const CONTENT_BYTES = 2048 + 16;
const fixed = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const facts: fc.Arbitrary<EscrowHead> = fc.record({
  deviceId: fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,63}$/),
  epoch: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  commitment: fixed(32),
  keys: fc.uniqueArray(fc.record({ owner: fixed(32), encapsulated: fixed(32), ciphertext: fixed(48) }), {
    selector: ({ owner }) => hex(owner),
    minLength: 1,
    maxLength: 16,
  }),
});
const blobOf = (head: EscrowHead, contentBytes = CONTENT_BYTES): Uint8Array =>
  concat(encodeEscrowHead(head, contentBytes), new Uint8Array(contentBytes).fill(7), new Uint8Array(64).fill(9));

const plain = (bytes: Uint8Array): Uint8Array => Uint8Array.from(bytes);

describe('reasons to refuse', () => {
  it.each(Object.entries(ESCROW_CODES))('%s has its row in docs/FORMATS.md', (code, meaning) => {
    expect(FORMATS).toContain(`| \`${code}\` | ${meaning} |`);
  });
});

describe('an escrow blob', () => {
  it('is read as what was written, its owners sorted', () => {
    fc.assert(
      fc.property(facts, (head) => {
        const decoded = decodeEscrow(blobOf(head));
        if (!decoded.ok) throw new Error(decoded.detail);
        const { deviceId, epoch, commitment, keys, content, signature } = decoded.blob;
        expect({ deviceId, epoch, commitment }).toEqual({
          deviceId: head.deviceId,
          epoch: head.epoch,
          commitment: plain(head.commitment),
        });
        expect(keys.map(({ owner }) => hex(owner))).toEqual(head.keys.map(({ owner }) => hex(owner)).sort());
        expect([content.length, signature.length]).toEqual([CONTENT_BYTES, 64]);
        expect(blobOf({ deviceId, epoch, commitment, keys })).toEqual(blobOf(head));
      }),
    );
  });

  it('is read strictly: whatever is taken would have been written just so', () => {
    fc.assert(
      fc.property(facts, fc.nat(), fc.integer({ min: 1, max: 255 }), (head, where, mask) => {
        const bytes = blobOf(head);
        const at = where % bytes.length;
        const changed = bytes.map((byte, index) => (index === at ? byte ^ mask : byte));
        const decoded = decodeEscrow(changed);
        if (!decoded.ok) return;
        const { blob } = decoded;
        expect(concat(encodeEscrowHead(blob, blob.content.length), blob.content, blob.signature)).toEqual(changed);
      }),
      { numRuns: 500 },
    );
  });

  it('is refused when it is cut anywhere, or when anything follows', () => {
    fc.assert(
      fc.property(facts, fc.nat(), (head, where) => {
        const bytes = blobOf(head);
        expect(decodeEscrow(bytes.subarray(0, where % bytes.length)).ok).toBe(false);
        expect(decodeEscrow(concat(bytes, Uint8Array.of(0))).ok).toBe(false);
      }),
    );
  });

  it('is refused unread beyond its cap', () => {
    expect(decodeEscrow(new Uint8Array(ESCROW_CAP_BYTES + 1))).toMatchObject({ ok: false, code: 'escrow-malformed' });
  });

  it('stays below its cap with all the owners and secrets that there may be', () => {
    const secretsAtMost = Math.ceil((2 + 64 * (1 + 97 + 2 + ESCROW_MAX_TEXT_BYTES)) / 2048) * 2048;
    const head: EscrowHead = {
      deviceId: 'x'.repeat(64),
      epoch: Number.MAX_SAFE_INTEGER,
      commitment: new Uint8Array(32),
      keys: Array.from({ length: 16 }, (_, index) => ({
        owner: new Uint8Array(32).fill(index),
        encapsulated: new Uint8Array(32),
        ciphertext: new Uint8Array(48),
      })),
    };
    const bytes = blobOf(head, secretsAtMost + 16);
    expect(bytes.length).toBeLessThanOrEqual(ESCROW_CAP_BYTES);
    expect(decodeEscrow(bytes).ok).toBe(true);
  });

  it('is bound to one device and one epoch, without two that give the same bytes', () => {
    fc.assert(
      fc.property(facts, facts, (one, other) => {
        const same = one.deviceId === other.deviceId && one.epoch === other.epoch;
        expect(hex(escrowKeyBinding(one).aad) === hex(escrowKeyBinding(other).aad)).toBe(same);
      }),
    );
    expect(hex(commitmentOf(new Uint8Array(32)))).not.toBe(hex(commitmentOf(new Uint8Array(32).fill(1))));
  });

  it("takes a signature of the device's key over its bytes and no other", () => {
    const keys = [
      generateKeyPairSync('ec', { namedCurve: 'P-256' }),
      generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    ];
    const points = keys.map(({ publicKey }) =>
      Uint8Array.from(publicKey.export({ format: 'der', type: 'spki' }).subarray(-65)),
    );
    const key = keys[0]?.privateKey;
    if (key === undefined) throw new Error('no key');
    const unsigned = decodeEscrow(blobOf(fc.sample(facts, { numRuns: 1, seed: 5 })[0] as EscrowHead));
    if (!unsigned.ok) throw new Error(unsigned.detail);
    const signed = (message: Uint8Array) => ({
      ...unsigned.blob,
      signature: Uint8Array.from(sign('sha256', message, { key, dsaEncoding: 'ieee-p1363' })),
    });
    const [own, stranger] = points as [Uint8Array, Uint8Array];
    expect(verifyEscrowSignature(signed(escrowMessage(unsigned.blob.body)), own)).toBe(true);
    expect(verifyEscrowSignature(signed(escrowMessage(unsigned.blob.body)), stranger)).toBe(false);
    expect(verifyEscrowSignature(signed(unsigned.blob.body), own)).toBe(false);
    expect(verifyEscrowSignature(signed(escrowMessage(unsigned.blob.body)), own.subarray(1))).toBe(false);
  });
});
