/**
 * Status messages: CBOR by cbor-x, which takes almost anything. That is good enough here and nowhere else: telemetry is
 * shown, never decided on, and a strict shape is checked after decoding.
 */
import { Decoder } from 'cbor-x';
import * as v from 'valibot';
import { MQTT_PAYLOAD_CAP_BYTES, StatusMessage } from '../../protocol/mqtt-topics.ts';

const decoder = new Decoder({ useRecords: false, mapsAsObjects: true });

/** The message, or undefined for anything else. */
export function decodeStatus(payload: Uint8Array): StatusMessage | undefined {
  if (payload.length > MQTT_PAYLOAD_CAP_BYTES) return undefined;
  try {
    const decoded: unknown = decoder.decode(payload);
    const parsed = v.safeParse(StatusMessage, decoded);
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}
