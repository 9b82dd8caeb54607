/**
 * Tokens of well-known services, in any file. Each kind has a check behind its look, so that an image full of libraries
 * stays silent: a checksum, a decoded header, or the secret beside its name. Examples of manuals are known and left out.
 */
import { crc32 } from 'node:zlib';
import { type FindingCode, lineAt, type Report } from '../findings.ts';

interface TokenKind {
  /** Bytes that every one has: looked for first, because that is fast. */
  readonly needles: readonly string[];
  readonly pattern: RegExp;
  readonly code: FindingCode;
  readonly what: string;
  readonly holds?: (match: RegExpMatchArray, around: string) => boolean;
}

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** Characters before and after a needle that are looked at. */
const BEFORE = 1024;
const AFTER = 4096;
const HITS_AT_MOST = 200;

const KINDS: readonly TokenKind[] = [
  {
    needles: ['AKIA', 'ASIA'],
    pattern: /(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Z0-9])/g,
    code: 'token',
    what: 'an AWS access key with its secret',
    holds: ([id], around) => !id.endsWith('EXAMPLE') && hasAwsSecret(around),
  },
  {
    needles: ['ghp_', 'gho_', 'ghu_', 'ghs_', 'ghr_'],
    pattern: /(?<![A-Za-z0-9_])gh[pousr]_([A-Za-z0-9]{30})([A-Za-z0-9]{6})(?![A-Za-z0-9])/g,
    code: 'token',
    what: 'a GitHub token (its checksum fits)',
    holds: ([, payload = '', sum = '']) => checksum(payload) === sum,
  },
  {
    needles: ['github_pat_'],
    pattern: /(?<![A-Za-z0-9_])github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}(?![A-Za-z0-9])/g,
    code: 'token',
    what: 'a GitHub fine-grained token',
    holds: ([text]) => isVaried(text),
  },
  {
    needles: ['npm_'],
    pattern: /(?<![A-Za-z0-9_])npm_([A-Za-z0-9]{30})([A-Za-z0-9]{6})(?![A-Za-z0-9])/g,
    code: 'token',
    what: 'an npm token (its checksum fits)',
    holds: ([, payload = '', sum = '']) => checksum(payload) === sum,
  },
  {
    needles: ['glpat-', 'glrt-', 'gldt-'],
    pattern: /(?<![A-Za-z0-9_-])gl(?:pat|rt|dt)-[A-Za-z0-9_-]{20,64}(?:\.[a-z0-9]{2}\.[a-z0-9]{9})?(?![A-Za-z0-9_-])/g,
    code: 'token',
    what: 'a GitLab token',
    holds: ([text]) => isVaried(text.slice(6)),
  },
  {
    needles: ['xoxb-', 'xoxp-', 'xoxa-', 'xoxr-', 'xoxs-', 'xapp-'],
    pattern:
      /(?<![A-Za-z0-9])(?:xox[abprs]-\d{9,14}-\d{9,14}-[A-Za-z0-9-]{20,}|xapp-\d-[A-Z0-9]{9,12}-\d{9,14}-[a-f0-9]{40,})/g,
    code: 'token',
    what: 'a Slack token',
    holds: ([text]) => isVaried(text),
  },
  {
    needles: ['hooks.slack.com/services/'],
    pattern: /hooks\.slack\.com\/services\/T[A-Z0-9]{8,12}\/B[A-Z0-9]{8,12}\/([A-Za-z0-9]{24})(?![A-Za-z0-9])/g,
    code: 'token',
    what: 'a Slack webhook',
    holds: ([, secret = '']) => isVaried(secret),
  },
  {
    needles: ['sk_live_', 'rk_live_'],
    pattern: /(?<![A-Za-z0-9_])[sr]k_live_([A-Za-z0-9]{24,99})(?![A-Za-z0-9])/g,
    code: 'token',
    what: 'a Stripe key',
    holds: ([, secret = '']) => isVaried(secret),
  },
  {
    needles: ['eyJ'],
    pattern:
      /(?<![A-Za-z0-9_-])(eyJ[A-Za-z0-9_-]{10,1024})\.(eyJ[A-Za-z0-9_-]{10,4096})\.([A-Za-z0-9_-]{43,700})(?![A-Za-z0-9_-])/g,
    code: 'session-token',
    what: 'a signed JSON web token',
    holds: ([, header = '', payload = '', signature = '']) => isJwt(header, payload, signature),
  },
  {
    needles: ['JWT_S', 'jwt_s', 'jwtS'],
    pattern:
      /(?:JWT_SECRET|JWT_SIGNING_KEY|jwt_secret|jwt_signing_key|jwtSecret|jwtSigningKey)["']?\s*[=:]\s*["']?([A-Za-z0-9+/=_.!@#%^*-]{16,})/g,
    code: 'token',
    what: 'a secret that signs JSON web tokens',
    holds: ([, secret = '']) =>
      isVaried(secret) && !/^(process|os|config|env)\./.test(secret) && !/example|change|your/i.test(secret),
  },
];

export function checkTokens(path: string, bytes: Buffer, report: Report): void {
  for (const kind of KINDS) {
    for (const needle of kind.needles) {
      const at = firstHit(bytes, needle, kind);
      if (at === undefined) continue;
      report(
        kind.code,
        path,
        `it has ${kind.what}`,
        bytes.includes(0) ? undefined : lineAt(bytes.toString('latin1'), at),
      );
      break;
    }
  }
}

/** Where the first real one stands; one finding a file and kind is enough. */
function firstHit(bytes: Buffer, needle: string, { pattern, holds }: TokenKind): number | undefined {
  let hits = 0;
  for (let at = bytes.indexOf(needle); at >= 0 && hits < HITS_AT_MOST; at = bytes.indexOf(needle, at + AFTER)) {
    hits += 1;
    const start = Math.max(0, at - BEFORE);
    const around = bytes.toString('latin1', start, at + AFTER + BEFORE);
    for (const match of around.matchAll(pattern)) if (holds?.(match, around) !== false) return start + match.index;
  }
  return undefined;
}

/** As GitHub and npm do it: CRC-32 of the rest, in base 62. */
export function checksum(payload: string): string {
  let rest = crc32(payload);
  let text = '';
  while (text.length < 6) {
    text = (BASE62[rest % 62] ?? '') + text;
    rest = Math.floor(rest / 62);
  }
  return text;
}

function hasAwsSecret(around: string): boolean {
  const secret = /secret[A-Za-z_ ]{0,24}["']?\s*[=:]\s*["']?([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])/i.exec(around)?.[1];
  return secret !== undefined && !secret.endsWith('EXAMPLEKEY') && isVaried(secret);
}

/** Random text has many different characters; `xxxxxxxx` and `0123…` of a manual have few, or stand in order. */
function isVaried(text: string): boolean {
  const steps = new Set([...text].slice(1).map((character, index) => character.charCodeAt(0) - text.charCodeAt(index)));
  return new Set(text).size >= Math.min(10, text.length / 2) && steps.size >= 6;
}

const SIGNATURE_BYTES: Readonly<Record<string, readonly number[]>> = {
  HS256: [32],
  HS384: [48],
  HS512: [64],
  ES256: [64],
  ES384: [96],
  EdDSA: [64],
  RS256: [256, 384, 512],
  RS384: [256, 384, 512],
  RS512: [256, 384, 512],
  PS256: [256, 384, 512],
};

function isJwt(header: string, payload: string, signature: string): boolean {
  const head = jsonOf(header);
  const body = jsonOf(payload);
  if (head === undefined || body === undefined || typeof head.alg !== 'string') return false;
  const sizes = SIGNATURE_BYTES[head.alg];
  if (sizes?.includes(Buffer.from(signature, 'base64url').length) !== true) return false;
  // The token of jwt.io and of RFC 7519 are in many manuals.
  return body.sub !== '1234567890' && body.iss !== 'joe' && body.name !== 'John Doe';
}

function jsonOf(base64url: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(base64url, 'base64url').toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
