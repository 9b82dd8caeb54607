/** Files that hold a secret by what they are: Wi-Fi settings, logins of people and build machines, shell histories. */
import type { Report } from '../findings.ts';
import { linesOf } from '../tree.ts';

interface SecretFile {
  readonly path: RegExp;
  /** One line, trimmed; the group, if there is one, is the secret. */
  readonly line: RegExp;
  readonly code: 'wifi-secret' | 'stored-login';
  readonly what: string;
}

const FILES: readonly SecretFile[] = [
  {
    path: /(^|\/)NetworkManager\/system-connections\/[^/]+$/,
    line: /^(?:psk|password|wep-key\d|leap-password|private-key-password)\s*=\s*(.+)$/,
    code: 'wifi-secret',
    what: 'a NetworkManager connection with its secret',
  },
  {
    path: /(^|\/)wpa_supplicant[^/]*\.conf$/,
    line: /^(?:psk|password|sae_password|wep_key\d|passphrase|private_key_passwd)\s*=\s*(.+)$/,
    code: 'wifi-secret',
    what: 'a network of wpa_supplicant with its secret',
  },
  {
    path: /(^|\/)hostapd[^/]*\.conf$/,
    line: /^(?:wpa_passphrase|wpa_psk|sae_password|wep_key\d|ap_pin)\s*=\s*(.+)$/,
    code: 'wifi-secret',
    what: 'the passphrase of an access point',
  },
  {
    path: /(^|\/)(netplan\/[^/]+\.ya?ml|network-config)$/,
    line: /^(?:["']?password["']?)\s*:\s*(.+)$/,
    code: 'wifi-secret',
    what: 'a network of netplan with its secret',
  },
  {
    path: /(^|\/)iwd\/[^/]+\.(psk|8021x)$/,
    line: /^(?:Passphrase|PreSharedKey|EAP-Password)\s*=\s*(.+)$/,
    code: 'wifi-secret',
    what: 'a network of iwd with its secret',
  },
  {
    path: /(^|\/)[._]netrc$/,
    line: /(?:^|\s)password\s+(\S+)/,
    code: 'stored-login',
    what: 'a login for a server',
  },
  {
    path: /(^|\/)\.?npmrc$/,
    line: /(?:^|:)(?:_authToken|_auth|_password)\s*=\s*(.+)$/,
    code: 'stored-login',
    what: 'a login for an npm registry',
  },
  {
    path: /(^|\/)(\.docker\/config|\.dockercfg|containers\/auth)(\.json)?$/,
    line: /"(?:auth|identitytoken|password)"\s*:\s*"([^"]+)"/,
    code: 'stored-login',
    what: 'a login for a container registry',
  },
  {
    path: /(^|\/)\.git-credentials$/,
    line: /^https?:\/\/[^:/@\s]+:([^@\s]+)@/,
    code: 'stored-login',
    what: 'a login for a Git server',
  },
  {
    path: /(^|\/)\.pgpass$/,
    line: /^[^#:]+:[^:]*:[^:]*:[^:]*:(.+)$/,
    code: 'stored-login',
    what: 'a login for a database',
  },
  { path: /(^|\/)\.my\.cnf$/, line: /^password\s*=\s*(.+)$/, code: 'stored-login', what: 'a login for a database' },
  {
    path: /(^|\/)\.pypirc$/,
    line: /^password\s*[=:]\s*(.+)$/,
    code: 'stored-login',
    what: 'a login for a Python index',
  },
  {
    path: /(^|\/)\.aws\/credentials$/,
    line: /^aws_secret_access_key\s*=\s*(.+)$/,
    code: 'stored-login',
    what: 'a login for AWS',
  },
  {
    path: /(^|\/)apt\/auth\.conf(\.d\/[^/]+\.conf)?$/,
    line: /(?:^|\s)password\s+(\S+)/,
    code: 'stored-login',
    what: 'a login for a package archive',
  },
];

const TEXT_CAP_BYTES = 1024 * 1024;
const HISTORY = /(^|\/)\.(bash|ash|zsh|sh|python|mysql|psql|sqlite|node_repl|rediscli)_?history$|(^|\/)fish_history$/;
const DOCUMENTATION = /(^|\/)usr\/share\/(doc|man|info)\//;
/** A blank to fill in, not a secret: `<secret>`, `${SECRET}`, `%s`, `@SECRET@`, `{{ secret }}`. */
const BLANK = /^["']?(<.*>|\$\{?.*|%.*|@.*@|\{\{.*)["']?$/;

export function checkStoredSecrets(path: string, bytes: Buffer, report: Report): void {
  if (DOCUMENTATION.test(path)) return;
  if (HISTORY.test(path) && bytes.length > 0) report('shell-history', path, `it holds ${bytes.length} bytes`);
  for (const kind of FILES) {
    if (kind.path.test(path)) checkLines(path, linesOf(bytes.toString('utf8', 0, TEXT_CAP_BYTES)), kind, report);
  }
}

function checkLines(path: string, lines: readonly string[], { line, code, what }: SecretFile, report: Report): void {
  for (const [index, text] of lines.entries()) {
    const plain = text.trim();
    if (plain === '' || /^[#;]/.test(plain)) continue;
    const secret = line.exec(plain)?.[1]?.trim();
    if (secret === undefined || secret === '' || secret === '""' || BLANK.test(secret)) continue;
    report(code, path, `it has ${what}`, index + 1);
    return;
  }
}
