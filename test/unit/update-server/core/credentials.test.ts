import { describe, expect, it } from 'vitest';
import type { RotationStatement } from '../../../../protocol/credentials.ts';
import { FLAG_CODES } from '../../../../protocol/reasons.ts';
import {
  judgeStatement,
  type KnownCredentials,
  type StatementFacts,
} from '../../../../update-server/core/credentials.ts';
import { fingerprint, hostKey, rotated } from '../statements.ts';

const ID = 'cam-0001';
const BOARD = fingerprint('board of', ID);
const facts = (statement: Partial<RotationStatement> = {}, more: Partial<StatementFacts> = {}): StatementFacts => ({
  deviceId: ID,
  statement: rotated(ID, statement),
  nonceFresh: true,
  signatureValid: true,
  known: null,
  approvedHardware: null,
  waitsForApproval: false,
  seenTwice: [],
  sharedWith: [],
  sameHardware: [],
  keptEscrow: null,
  ...more,
});
const known = (more: Partial<KnownCredentials> = {}): KnownCredentials => ({
  epoch: 1,
  state: 'reported',
  hardwareId: BOARD,
  credentials: [hostKey(ID, 1)],
  ...more,
});
const escrow = (words: string) => ({ sha256: fingerprint(words), owners: [fingerprint('owner')] });

function codesOf(given: StatementFacts): readonly string[] {
  const judged = judgeStatement(given);
  return judged.verdict === 'refused' ? [judged.code] : judged.flags.map(({ code }) => code);
}

describe('a statement', () => {
  it('that is fresh, signed, complete and nobody else’s is proven', () => {
    expect(judgeStatement(facts())).toEqual({ verdict: 'proven', flags: [] });
    expect(judgeStatement(facts({}, { known: known() }))).toEqual({ verdict: 'proven', flags: [] });
    expect(judgeStatement(facts({ epoch: 2 }, { known: known() })).verdict).toBe('proven');
  });

  it.each([
    ['epoch 0', { epoch: 0 }],
    ['a first boot that is not open', { state: 'verified' }],
    ['a blocked first boot', { state: 'blocked' }],
    ['a factory secret', { credentials: [hostKey(ID, 0, { state: 'factory' })] }],
    ['a check that failed', { credentials: [hostKey(ID, 1, { state: 'failed' })] }],
  ] as const)('with %s proves nothing', (_what, statement) => {
    expect(judgeStatement(facts(statement as Partial<RotationStatement>))).toEqual({ verdict: 'factory', flags: [] });
  });

  it.each([
    ['statement-nonce-unknown', { nonceFresh: false }],
    ['statement-signature-wrong', { signatureValid: false }],
    ['statement-of-another-device', { deviceId: 'cam-0002' }],
  ] as const)('is refused as %s', (code, more) => expect(codesOf(facts({}, more))).toEqual([code]));

  const flagged: readonly (readonly [string, StatementFacts])[] = [
    ['epoch-went-back', facts({ epoch: 1 }, { known: known({ epoch: 2 }) })],
    ['state-went-back', facts({ state: 'applied' }, { known: known() })],
    ['credentials-changed', facts({ credentials: [hostKey('another', 1)] }, { known: known() })],
    ['fingerprint-shared', facts({}, { sharedWith: [{ name: 'ssh-host-key:ed25519', deviceId: 'cam-0002' }] })],
    ['hardware-on-two-devices', facts({}, { sameHardware: ['cam-0002'] })],
    ['hardware-moved', facts({ hardwareId: fingerprint('other') }, { known: known() })],
    ['reports-went-back', facts({}, { seenTwice: [{ code: 'reports-went-back', detail: 'report 7 came twice' }] })],
    ['two-boots-at-once', facts({ epoch: 2 }, { seenTwice: [{ code: 'two-boots-at-once', detail: 'boot a again' }] })],
    ['escrow-differs', facts({ escrow: escrow('a') }, { keptEscrow: fingerprint('b') })],
  ];
  it.each(flagged)('is flagged as %s', (code, given) => expect(codesOf(given)).toEqual([code]));
  it('can be flagged with every code of the closed list', () => {
    expect(flagged.map(([code]) => code).sort()).toEqual([...FLAG_CODES].sort());
  });

  it('of a card that says where it was before is flagged, and not once that board was approved', () => {
    const moved = { hardwareId: fingerprint('new'), movedFrom: BOARD };
    expect(codesOf(facts(moved))).toEqual(['hardware-moved']);
    expect(codesOf(facts(moved, { approvedHardware: fingerprint('new') }))).toEqual([]);
    expect(codesOf(facts(moved, { approvedHardware: fingerprint('third') }))).toEqual(['hardware-moved']);
    expect(codesOf(facts(moved, { known: known(), approvedHardware: 'next' }))).toEqual([]);
    expect(codesOf(facts({ hardwareId: null }, { known: known() }))).toEqual(['hardware-moved']);
  });

  it('of the former board decides nothing while another waits for approval', () => {
    const waiting = { known: known(), waitsForApproval: true };
    expect(codesOf(facts({}, waiting))).toEqual(['hardware-moved']);
    expect(codesOf(facts({}, { ...waiting, approvedHardware: BOARD }))).toEqual(['hardware-moved']);
    expect(codesOf(facts({}, { ...waiting, approvedHardware: 'next' }))).toEqual([]);
  });

  it('may have another device key in the same epoch, as renewal makes one', () => {
    const key = (words: string) =>
      hostKey(ID, 1, { name: 'device-key', kind: 'device-key', fingerprint: fingerprint(words) });
    const before = known({ credentials: [key('first')] });
    expect(codesOf(facts({ credentials: [key('second')] }, { known: before }))).toEqual([]);
  });

  it('may say blocked after it was open: that is trouble, not the past', () => {
    expect(judgeStatement(facts({ state: 'blocked' }, { known: known() }))).toEqual({ verdict: 'factory', flags: [] });
  });
});
