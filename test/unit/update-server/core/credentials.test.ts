import { describe, expect, it } from 'vitest';
import type { RotationStatement } from '../../../../protocol/credentials.ts';
import { FLAG_CODES } from '../../../../protocol/reasons.ts';
import {
  type CredentialRecord,
  certificateLifeMs,
  decideRequests,
  FULL_CERTIFICATE_MS,
  judgeStatement,
  type KnownCredentials,
  type RequestFacts,
  type Service,
  STATEMENT_FRESH_MS,
  type StatementFacts,
  serves,
  serviceFor,
  standingOf,
  USUAL_POLICY,
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

describe('a standing', () => {
  const record = (more: Partial<CredentialRecord> = {}): CredentialRecord => ({
    verdict: 'proven',
    epoch: 1,
    state: 'open',
    statedUnixMs: 0,
    flags: [],
    ...more,
  });

  it.each([
    ['proven', record(), { state: 'reported', epoch: 1 }],
    ['factory', null, { state: 'open', epoch: 1 }],
    ['factory', record(), null],
    ['factory', record(), { state: 'open', epoch: 2 }],
    ['factory', record(), { state: 'blocked', epoch: 1 }],
    ['factory', record({ verdict: 'factory' }), { state: 'open', epoch: 1 }],
    ['flagged', record({ verdict: 'flagged', flags: [{ code: 'fingerprint-shared', detail: '' }] }), null],
    ['awaiting-approval', record({ verdict: 'flagged', flags: [{ code: 'hardware-moved', detail: '' }] }), null],
  ] as const)('is %s', (standing, kept, said) => expect(standingOf(kept, said)).toBe(standing));

  it('decides with the gate what is served', () => {
    const of = (...args: Parameters<typeof serviceFor>) => serviceFor(...args);
    expect((['off', 'report', 'enforce'] as const).map((gate) => of('factory', gate, false))).toEqual([
      ...['all', 'all', 'repairs'],
    ]);
    expect((['off', 'report', 'enforce'] as const).map((gate) => of('awaiting-approval', gate, false))).toEqual([
      ...['all', 'none', 'none'],
    ]);
    expect(of('proven', 'enforce', false)).toBe('all');
    expect(of('proven', 'enforce', true)).toBe('work');
    const served = (service: Service) =>
      [serves(service, 'update', false), serves(service, 'update', true), serves(service, 'security', false)].map(
        Number,
      );
    expect({ all: served('all'), work: served('work'), repairs: served('repairs'), none: served('none') }).toEqual({
      all: [1, 1, 1],
      work: [0, 1, 1],
      repairs: [0, 0, 1],
      none: [0, 0, 0],
    });
  });

  it('makes a certificate short only where the gate is enforced', () => {
    expect(certificateLifeMs(USUAL_POLICY, 'factory')).toBe(FULL_CERTIFICATE_MS);
    const strict = { gate: 'enforce', factoryCertificateMs: 5 } as const;
    expect([certificateLifeMs(strict, 'factory'), certificateLifeMs(strict, 'proven')]).toEqual([
      5,
      FULL_CERTIFICATE_MS,
    ]);
  });

  describe('decides what a device is asked for:', () => {
    const asked = (more: Partial<RequestFacts>) =>
      decideRequests({
        protocol: 3,
        said: { state: 'open', epoch: 1 },
        record: record(),
        rotateFromEpoch: null,
        certificate: null,
        standing: 'proven',
        nowUnixMs: 1000,
        ...more,
      });
    const year = { issuedUnixMs: 0, notAfterUnixMs: FULL_CERTIFICATE_MS };

    it('nothing, while its proof is fresh', () => expect(asked({ certificate: year })).toEqual([]));
    it('a statement after a week', () =>
      expect(asked({ nowUnixMs: STATEMENT_FRESH_MS })).toEqual(['report-credentials']));
    it('a statement each hour while something speaks against it', () => {
      const flags = [{ code: 'fingerprint-shared', detail: '' }] as const;
      const of = (nowUnixMs: number) => asked({ record: record({ verdict: 'flagged', flags }), nowUnixMs });
      expect([of(3_599_999), of(3_600_000)]).toEqual([[], ['report-credentials']]);
    });
    it('a statement at once when its epoch is another, and hourly when it went back and was flagged', () => {
      const back = { said: { state: 'open', epoch: 1 }, record: record({ epoch: 2 }) } as const;
      const flags = [{ code: 'epoch-went-back', detail: '' }] as const;
      const flagged = record({ epoch: 2, verdict: 'flagged', flags });
      expect(asked(back)).toEqual(['report-credentials']);
      expect(asked({ ...back, record: flagged })).toEqual([]);
      expect(asked({ ...back, record: flagged, nowUnixMs: 3_600_000 })).toEqual(['report-credentials']);
      expect(asked({ said: { state: 'open', epoch: 3 }, record: flagged })).toEqual(['report-credentials']);
    });
    it('rotation, until it speaks of a later epoch', () => {
      expect(asked({ rotateFromEpoch: 1 })).toEqual(['rotate-credentials']);
      expect(asked({ rotateFromEpoch: 1, said: { state: 'open', epoch: 2 } })).toEqual(['report-credentials']);
    });
    it('a renewal after two thirds, but not on a board that nobody approved', () => {
      const late = { certificate: year, record: null, said: null, nowUnixMs: (FULL_CERTIFICATE_MS * 2) / 3 };
      expect(asked(late)).toEqual(['renew-certificate']);
      expect(asked({ ...late, standing: 'awaiting-approval' })).toEqual([]);
    });
    it('a full certificate once it has proven itself with a short one', () => {
      const certificate = { issuedUnixMs: 0, notAfterUnixMs: 24 * 3_600_000 };
      expect(asked({ certificate })).toEqual(['renew-certificate']);
      expect(asked({ certificate, standing: 'factory' })).toEqual([]);
    });
    it('nothing before protocol 3', () =>
      expect(asked({ protocol: 2, rotateFromEpoch: 1, certificate: year, nowUnixMs: STATEMENT_FRESH_MS * 50 })).toEqual(
        [],
      ));
  });
});
