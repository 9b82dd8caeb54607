import { describe, expect, it } from 'vitest';
import {
  type CredentialRecord,
  certificateLifeMs,
  decideRequests,
  FULL_CERTIFICATE_MS,
  type RequestFacts,
  type Service,
  STATEMENT_FRESH_MS,
  serves,
  serviceFor,
  standingOf,
  USUAL_POLICY,
} from '../../../../update-server/core/credential-standing.ts';

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
    expect(certificateLifeMs({ ...USUAL_POLICY, gate: 'report' }, 'factory')).toBe(FULL_CERTIFICATE_MS);
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
    const year = { issuedUnixMs: 0, notAfterUnixMs: FULL_CERTIFICATE_MS, unused: false };

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
    it('a renewal again, while the new certificate has not been used', () =>
      expect(asked({ certificate: { ...year, unused: true } })).toEqual(['renew-certificate']));
    it('a full certificate once it has proven itself with a short one', () => {
      const certificate = { issuedUnixMs: 0, notAfterUnixMs: 24 * 3_600_000, unused: false };
      expect(asked({ certificate })).toEqual(['renew-certificate']);
      expect(asked({ certificate, standing: 'factory' })).toEqual([]);
    });
    it('nothing before protocol 3', () =>
      expect(asked({ protocol: 2, rotateFromEpoch: 1, certificate: year, nowUnixMs: STATEMENT_FRESH_MS * 50 })).toEqual(
        [],
      ));
  });
});
