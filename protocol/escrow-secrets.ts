/**
 * What lies inside an escrow blob: names and texts, as bytes. Sorted, each name once, padded with zeros to a multiple of
 * 2 KiB, so that the length of a blob says nothing of the length of a secret.
 *
 * Layout, integers big-endian: count (2), then per secret: length of the name (1), name, length of the text (2), text.
 *
 * May not: encrypt, log, or put a secret into a detail.
 */
import * as v from 'valibot';
import { concat, utf8 } from '../trust/bytes.ts';
import { CredentialName } from './credentials.ts';
import { type EscrowRefusal, refuseEscrow } from './escrow-codes.ts';

export const ESCROW_MAX_SECRETS = 64;
/** Of a text, in UTF-8: one byte a character for everything that a device makes itself. */
export const ESCROW_MAX_TEXT_BYTES = 256;
export const ESCROW_PLAINTEXT_STEP_BYTES = 2048;

interface NamedText {
  readonly name: string;
  readonly text: string;
}

type Encoded = { readonly ok: true; readonly bytes: Uint8Array } | EscrowRefusal;
type Decoded = { readonly ok: true; readonly secrets: readonly NamedText[] } | EscrowRefusal;

const malformed = (detail: string): EscrowRefusal => refuseEscrow('escrow-secrets-malformed', detail);

/** The padded bytes, wiped by the caller. What no reader would take back is refused here. */
export function encodeEscrowSecrets(secrets: readonly NamedText[]): Encoded {
  if (secrets.length > ESCROW_MAX_SECRETS) return malformed(`${secrets.length} secrets, at most ${ESCROW_MAX_SECRETS}`);
  const sorted = [...secrets].sort((a, b) => (a.name < b.name ? -1 : 1));
  const parts: Uint8Array[] = [Uint8Array.of(0, sorted.length)];
  for (const [index, { name, text }] of sorted.entries()) {
    if (!v.is(CredentialName, name)) return malformed('a name is none of a credential');
    if (sorted[index - 1]?.name === name) return malformed(`${name} stands there twice`);
    const bytes = utf8(text);
    if (!text.isWellFormed() || bytes.length === 0 || bytes.length > ESCROW_MAX_TEXT_BYTES) {
      return malformed(`${name} has no text of 1 to ${ESCROW_MAX_TEXT_BYTES} bytes`);
    }
    parts.push(Uint8Array.of(name.length), utf8(name), Uint8Array.of(bytes.length >> 8, bytes.length & 0xff), bytes);
  }
  const filled = concat(...parts);
  const padded = new Uint8Array(Math.ceil(filled.length / ESCROW_PLAINTEXT_STEP_BYTES) * ESCROW_PLAINTEXT_STEP_BYTES);
  padded.set(filled);
  for (const part of [...parts, filled]) part.fill(0);
  return { ok: true, bytes: padded };
}

const STRICT_UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function textOf(bytes: Uint8Array): string | undefined {
  try {
    return STRICT_UTF8.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Accepts exactly what `encodeEscrowSecrets` makes. `bytes` is not wiped here. */
export function decodeEscrowSecrets(bytes: Uint8Array): Decoded {
  const count = ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
  if (bytes.length < 2 || count > ESCROW_MAX_SECRETS) return malformed('no number of secrets');
  const secrets: NamedText[] = [];
  let at = 2;
  for (let index = 0; index < count; index += 1) {
    const nameAt = at + 1;
    const lengthAt = nameAt + (bytes[at] ?? 0);
    const textAt = lengthAt + 2;
    const end = textAt + (((bytes[lengthAt] ?? 0) << 8) | (bytes[lengthAt + 1] ?? 0));
    if (end > bytes.length || end - textAt > ESCROW_MAX_TEXT_BYTES) return malformed('a length beyond the end');
    const name = textOf(bytes.subarray(nameAt, lengthAt));
    const text = textOf(bytes.subarray(textAt, end));
    if (name === undefined || text === undefined || text === '') return malformed('a text that is none');
    if (!v.is(CredentialName, name) || name <= (secrets.at(-1)?.name ?? '')) return malformed('names out of order');
    secrets.push({ name, text });
    at = end;
  }
  const padded = Math.ceil(at / ESCROW_PLAINTEXT_STEP_BYTES) * ESCROW_PLAINTEXT_STEP_BYTES;
  if (bytes.length !== padded || bytes.subarray(at).some((byte) => byte !== 0)) return malformed('the padding is none');
  return { ok: true, secrets };
}
