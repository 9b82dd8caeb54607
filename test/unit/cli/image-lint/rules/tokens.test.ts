import { describe, expect, it } from 'vitest';
import { checkPrivateKeys } from '../../../../../cli/image-lint/rules/private-keys.ts';
import { checkStoredSecrets } from '../../../../../cli/image-lint/rules/stored-secrets.ts';
import { checksum, checkTokens } from '../../../../../cli/image-lint/rules/tokens.ts';

type Rule = (path: string, bytes: Buffer, report: (code: string, path: string) => void) => void;

function codes(rule: Rule, text: string, path = 'opt/app/data'): string[] {
  const found: string[] = [];
  rule(path, Buffer.from(text, 'latin1'), (code) => found.push(code));
  return found;
}

describe('a token', () => {
  it("has GitHub's checksum, as in the example that GitHub published", () => {
    expect(checksum('zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ')).toBe('0mLq17');
  });

  it.each([
    ['a GitHub token whose checksum is wrong', 'ghp_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq18'],
    ["Amazon's example", 'AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY aws_secret_access_key'],
    ['a key id without its secret', 'AKIAQ3EGRPV5ZL7NTKWC'],
    ['a blank of a manual', 'glpat-xxxxxxxxxxxxxxxxxxxx xoxb-000000000000-000000000000-xxxxxxxxxxxxxxxxxxxxxxxx'],
    [
      'the token of jwt.io',
      'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c',
    ],
    ['a setting that is read from elsewhere', 'jwtSecret: process.env.JWT_SECRET_VALUE'],
  ])('is not seen in %s', (_, text) => expect(codes(checkTokens as Rule, text)).toEqual([]));
});

describe('a private key', () => {
  it.each([
    ['words of a library', '-----BEGIN RSA PRIVATE KEY-----\0-----END RSA PRIVATE KEY-----\0'],
    ['a manual', '-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n'],
    ['base64 of something else', `-----BEGIN PRIVATE KEY-----\n${'QUJD'.repeat(40)}\n-----END PRIVATE KEY-----\n`],
    ['a public key', '-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n'],
    [
      'a public JSON web key',
      '{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}',
    ],
    ['a certificate in DER', '\x30\x03\x02\x01\x05'],
  ])('is not seen in %s', (_, text) => expect(codes(checkPrivateKeys as Rule, text)).toEqual([]));
});

describe('a stored secret', () => {
  it.each([
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is what stands in the file
    ['etc/hostapd/hostapd.conf', 'wpa_passphrase=${PASSPHRASE}\n'],
    ['etc/hostapd/hostapd.conf', '#wpa_passphrase=secret passphrase\n'],
    ['usr/share/doc/hostapd/hostapd.conf', 'wpa_passphrase=secret passphrase\n'],
    ['etc/NetworkManager/system-connections/a', 'psk-flags=1\npsk=\n'],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is what stands in the file
    ['root/.npmrc', '//r.example/:_authToken=${NPM_TOKEN}\n'],
    ['root/.bash_history', ''],
  ])('is not seen in %s: %j', (path, text) => expect(codes(checkStoredSecrets as Rule, text, path)).toEqual([]));
});
