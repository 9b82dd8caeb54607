/**
 * The label secret: what a person at the device has and nobody on the network, for setting the device up locally. It
 * stands in the QR code of a printed label and nowhere else; the device gets a digest of it.
 *
 * It is random, never derived from a serial number or an address, and opens nothing by itself: it says "I can see this
 * device". It is not the claim, which enrols, and not a password. A plain hash without limits on tries is enough for it:
 * NIST SP 800-63B-4 asks for salt and a slow hash below 112 bits, and for a limit of tries below 64.
 */
import * as v from 'valibot';
import { equalBytes, utf8 } from '../trust/bytes.ts';
import { sha256Hex } from '../trust/crypto.ts';
import { decodeJson } from '../trust/json.ts';
import { Name, Sha256Hex } from './device-api.ts';

/** 192 bits. */
export const LABEL_SECRET_BYTES = 24;
const TEXT_CAP_BYTES = 4096;
const CONTEXT = 'holdfast label 1\0';

/** What a scanner reads. */
export const LabelText = v.strictObject({
  format: v.literal('holdfast-label-1'),
  deviceId: Name,
  /** base64url. */
  secret: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{32}$/)),
});
export type LabelText = v.InferOutput<typeof LabelText>;

/** What lies on the device; no secret. */
const LabelVerifier = v.strictObject({
  format: v.literal('holdfast-label-verifier-1'),
  deviceId: Name,
  sha256: Sha256Hex,
});
export type LabelVerifier = v.InferOutput<typeof LabelVerifier>;

export function verifierOf({ deviceId, secret }: LabelText): LabelVerifier {
  return { format: 'holdfast-label-verifier-1', deviceId, sha256: digestOf(deviceId, secret) };
}

/** Undefined when the bytes are no such file. */
export function decodeLabelVerifier(bytes: Uint8Array): LabelVerifier | undefined {
  return decodeAs(bytes, LabelVerifier);
}

export function isLabelOf(scanned: string, verifier: LabelVerifier): boolean {
  const label = decodeAs(utf8(scanned), LabelText);
  if (label?.deviceId !== verifier.deviceId) return false;
  return equalBytes(utf8(digestOf(label.deviceId, label.secret)), utf8(verifier.sha256));
}

function digestOf(deviceId: string, secret: string): string {
  return sha256Hex(utf8(`${CONTEXT}${deviceId}\0${secret}`));
}

function decodeAs<T>(bytes: Uint8Array, schema: v.GenericSchema<unknown, T>): T | undefined {
  const json = decodeJson(bytes, { capBytes: TEXT_CAP_BYTES });
  const parsed = json.ok ? v.safeParse(schema, json.value) : undefined;
  return parsed?.success ? parsed.output : undefined;
}
