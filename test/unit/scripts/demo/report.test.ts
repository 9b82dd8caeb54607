import { describe, expect, it } from 'vitest';
import { completeReport, type DemoReport } from '../../../../scripts/demo/report.ts';

const credentials = { standing: 'proven', epoch: 1, factoryLeft: [] };
const device = { id: 'cam-0001', version: '2.0.0', slot: 'b', state: 'idle', credentials };
const good: Omit<DemoReport, 'ok'> = {
  devices: [device],
  rollouts: [{ release: '2.0.0', state: 'complete', reason: 'all', confirmed: 1, failed: 0, neverStarted: 0 }],
  refusals: [{ attack: 'one flipped bit', by: 'device', code: 'block-digest-mismatch', twinAccepted: true }],
  recoveries: [{ trouble: 'broker drops every connection', ok: true, seconds: 1 }],
  steps: [{ step: 'ceremony', ok: true, seconds: 1, findings: [] }],
};

describe('the demo report', () => {
  it('is ok when every row is', () => {
    expect(completeReport(good, true).ok).toBe(true);
  });

  it.each<[string, Partial<DemoReport>]>([
    ['an attack that was not refused', { refusals: [{ attack: 'x', by: 'device', code: '', twinAccepted: true }] }],
    ['a twin that was refused', { refusals: [{ attack: 'x', by: 'server', code: 'y', twinAccepted: false }] }],
    ['a trouble that was not overcome', { recoveries: [{ trouble: 'x', ok: false, seconds: 9 }] }],
    [
      'a device that has not proven',
      { devices: [{ ...device, credentials: { ...credentials, standing: 'factory' } }] },
    ],
    ['a login left', { devices: [{ ...device, credentials: { ...credentials, factoryLeft: ['login root/root'] } }] }],
    ['a step with a finding', { steps: [{ step: 'x', ok: false, seconds: 1, findings: ['y'] }] }],
  ])('is not ok with %s', (_name, change) => {
    expect(completeReport({ ...good, ...change }, true).ok).toBe(false);
  });

  it('is not ok when a step broke off, whatever the rows say', () => {
    expect(completeReport(good, false).ok).toBe(false);
  });

  it('has the keys that scripts depend on', () => {
    expect(Object.keys(completeReport(good, true))).toEqual([
      'ok',
      'devices',
      'rollouts',
      'refusals',
      'recoveries',
      'steps',
    ]);
  });
});
