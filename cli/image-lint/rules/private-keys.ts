/**
 * Private keys by what is in a file, whatever it is called. The words `BEGIN PRIVATE KEY` alone are in every TLS library:
 * a finding needs a key behind them, decoded and of the shape that its kind has.
 */
import { type FindingCode, lineAt, type Report } from '../findings.ts';
import { derElement, isDerPrivateKey } from './der.ts';

/** Where a key begins; the whole of it is matched in what follows there. */
const PEM = /^-----BEGIN ((?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?)-----(.{20,65536}?)-----END \1-----/s;
const OPENSSH_MAGIC = 'openssh-key-v1\0';
const PUTTY = /^PuTTY-User-Key-File-\d: \S{1,64}\r?\n/;
const JWK = /\{[^{}]{0,8192}"kty"\s*:\s*"(EC|RSA|OKP|oct)"[^{}]{0,8192}\}/g;
/** Of one file. A hostile one begins a key in every line. */
const HITS_AT_MOST = 1000;
const KEY_CAP_BYTES = 72 * 1024;
const DER_CAP_BYTES = 64 * 1024;
/** Documentation, tests, bundles of authorities, and GnuTLS, whose library has the keys of its own self-tests in it. */
const PUBLIC_BY_NATURE =
  /(^|\/)(usr\/share\/(doc|man|info)|tests?|testing|testdata|test[-_]data|fixtures|examples?|__tests__|selftests?)\/|(^|\/)cacerts$|(^|\/)libgnutls\.so[.\d]*$/;

/** A key among documentation and tests is a note. */
export function keyCode(path: string): FindingCode {
  return PUBLIC_BY_NATURE.test(path) ? 'private-key-example' : 'private-key';
}

export function checkPrivateKeys(path: string, bytes: Buffer, report: Report): void {
  const found = new Set<string>();
  const say = (what: string, line?: number): void => {
    // A bundle of many keys is one finding of each kind.
    if (found.has(what)) return;
    found.add(what);
    report(keyCode(path), path, what, line);
  };
  for (const at of hits(bytes, '-----BEGIN ')) {
    const { 1: label = '', 2: body = '' } = PEM.exec(bytes.toString('latin1', at, at + KEY_CAP_BYTES)) ?? [];
    const what = label === '' ? undefined : keyIn(label, body);
    if (what !== undefined) say(what, lineAt(bytes.toString('latin1', 0, at), at));
  }
  for (const at of hits(bytes, 'PuTTY-User-Key-File-')) {
    const text = bytes.toString('latin1', at, at + KEY_CAP_BYTES);
    if (PUTTY.test(text) && text.includes('\nPrivate-Lines: ')) say('it is a PuTTY private key');
  }
  if (bytes.includes('"kty"')) checkJwk(bytes.toString('latin1'), say);
  if (bytes[0] === 0x30 && bytes.length <= DER_CAP_BYTES) {
    const kind = isDerPrivateKey(bytes);
    if (kind !== undefined) say(kind);
  }
}

/** Where `words` stand. A bundle of certificates has the words of a key's beginning too: only what ends in KEY counts. */
function* hits(bytes: Buffer, words: string): Generator<number> {
  let count = 0;
  for (let at = bytes.indexOf(words); at >= 0 && count < HITS_AT_MOST; at = bytes.indexOf(words, at + words.length)) {
    if (words === '-----BEGIN ' && !bytes.toString('latin1', at, at + 64).includes('PRIVATE KEY')) continue;
    count += 1;
    yield at;
  }
}

function keyIn(label: string, body: string): string | undefined {
  // In JSON and in environment files line breaks are written as \n.
  const lines = body
    .replaceAll(/\\r|\\n/g, '\n')
    .split(/\r?\n/)
    .map((line) => line.trim());
  const headers = lines.filter((line) => /^[A-Za-z-]+: /.test(line));
  const base64 = lines
    .filter((line) => !/^[A-Za-z-]+: /.test(line) && !line.startsWith('='))
    .join('')
    .replaceAll(/["',\s]/g, '');
  if (base64.length < 40 || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return undefined;
  const key = Buffer.from(base64, 'base64');
  if (label.startsWith('PGP'))
    return key.length > 100 && ((key[0] ?? 0) & 0x80) !== 0 ? 'it is an OpenPGP private key' : undefined;
  if (label.startsWith('OPENSSH')) {
    return key.toString('latin1', 0, OPENSSH_MAGIC.length) === OPENSSH_MAGIC
      ? 'it is an OpenSSH private key'
      : undefined;
  }
  if (headers.some((line) => line.startsWith('Proc-Type:') && line.includes('ENCRYPTED')))
    return `it has an encrypted ${label}`;
  return derElement(key, 0)?.end === key.length ? `it has a ${label}` : undefined;
}

/** JSON web keys with their private part. */
function checkJwk(text: string, say: (what: string, line?: number) => void): void {
  for (const match of text.matchAll(JWK)) {
    const member = match[1] === 'oct' ? 'k' : 'd';
    if (new RegExp(`"${member}"\\s*:\\s*"[A-Za-z0-9_-]{20,}"`).test(match[0]))
      say('it has a private JSON web key', lineAt(text, match.index));
  }
}
