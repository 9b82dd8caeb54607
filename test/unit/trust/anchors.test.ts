import { expect, it } from 'vitest';
import { anchorFromPem, anchorToPem } from '../../../trust/anchors.ts';
import { canonicalJson } from '../../../trust/json.ts';

const BODY = 'MIIB'.repeat(50);
const PEM = anchorToPem(BODY);

it('an anchor is one line, and becomes the same PEM again', () => {
  expect(anchorFromPem(PEM)).toBe(BODY);
  expect(PEM.split('\n').every((line) => line.length <= 64)).toBe(true);
  expect(() => canonicalJson({ anchors: [BODY] })).not.toThrow();
});

it('takes Windows line ends and space around it', () => {
  expect(anchorFromPem(`\n${PEM.replaceAll('\n', '\r\n')}`)).toBe(BODY);
});

it.each([
  ['no PEM', BODY],
  ['two certificates', PEM + PEM],
  ['a key', PEM.replaceAll('CERTIFICATE', 'PRIVATE KEY')],
])('gives nothing for %s', (_what, text) => {
  expect(anchorFromPem(text)).toBeUndefined();
});
