/**
 * The fast path: hints down, status up, presence. A hint carries no data ("poll now"), so that a forged, lost or
 * repeated one changes nothing but latency. MQTT 3.1.1; the client id and the certificate's common name are the device id.
 *
 * | topic                               | who publishes | who subscribes | QoS | retained |
 * | holdfast/v1/devices/<id>/hint       | server        | that device    | 1   | never    |
 * | holdfast/v1/devices/<id>/status     | that device   | server         | 0   | never    |
 * | holdfast/v1/devices/<id>/presence   | that device   | server         | 1   | never    |  (last will: `gone`)
 *
 * Anything else is refused by the broker: other devices' topics, wildcards, $SYS, retained messages.
 */
import * as v from 'valibot';
import { InstallState, Slot } from './device-api.ts';

const PREFIX = 'holdfast/v1/devices';
export const MQTT_PAYLOAD_CAP_BYTES = 1024;

export const hintTopic = (deviceId: string): string => `${PREFIX}/${deviceId}/hint`;
export const statusTopic = (deviceId: string): string => `${PREFIX}/${deviceId}/status`;
export const presenceTopic = (deviceId: string): string => `${PREFIX}/${deviceId}/presence`;

/** Payload of a presence message, UTF-8. */
export const PRESENCE = { here: 'here', gone: 'gone' } as const;

/** Payload of a status message: this shape in CBOR (cbor-x, plain maps; telemetry only, nothing is decided on it). */
export const StatusMessage = v.strictObject({
  state: InstallState,
  slot: v.nullable(Slot),
  sequence: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  doneBytes: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  totalBytes: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
});
export type StatusMessage = v.InferOutput<typeof StatusMessage>;
