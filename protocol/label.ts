/**
 * The label secret: what a person at the device has and nobody on the network, for setting the device up locally. On a
 * printed label as a QR code, and as a file on the device's factory partition (0600). The QR code holds the file's text.
 *
 * It is random, never derived from a serial number or an address, and it opens no network service: it says "I can see
 * this device". It is not the claim, which enrols, and not a password.
 */
import * as v from 'valibot';
import { Name } from './device-api.ts';

/** 192 bits. */
export const LABEL_SECRET_BYTES = 24;

export const LabelFile = v.strictObject({
  format: v.literal('holdfast-label-1'),
  deviceId: Name,
  /** base64url. */
  secret: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{32}$/)),
});
export type LabelFile = v.InferOutput<typeof LabelFile>;
