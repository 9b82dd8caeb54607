/**
 * What a device may do on the broker, as decisions. Everything that is not named here is refused, each for its own
 * reason (protocol/mqtt-topics.ts has the table of topics). Pure.
 */
import { hintTopic, MQTT_PAYLOAD_CAP_BYTES, PRESENCE, presenceTopic, statusTopic } from '../../protocol/mqtt-topics.ts';

export const MQTT_REFUSALS = {
  'mqtt-no-certificate': 'The peer showed no client certificate.',
  'mqtt-certificate-refused': 'The certificate is not one that this server issued, or is out of its dates.',
  'mqtt-device-revoked': 'The certificate of this device was revoked.',
  'mqtt-client-id-mismatch': "The client id is not the device id in the peer's certificate.",
  'mqtt-takeover-refused': 'A session with another certificate holds this client id.',
  'mqtt-wildcard': 'A wildcard in a topic: a device has exactly three topics.',
  'mqtt-sys-topic': "A topic of the broker's own ($…).",
  'mqtt-topic-not-own': "A topic that is not this device's for this use.",
  'mqtt-retain-refused': 'A retained message: nothing on this broker is kept.',
  'mqtt-qos-refused': 'QoS 2 is not offered.',
  'mqtt-payload-too-large': 'More bytes than the cap for a message.',
  'mqtt-payload-malformed': 'A presence or status message that is not what the protocol allows.',
  'mqtt-too-many-sessions': 'More connections at once than one device may have.',
} as const satisfies Record<string, string>;
export type MqttRefusal = keyof typeof MQTT_REFUSALS;

/** A frame holds a topic and a payload, or a CONNECT with a last will: never more than this. */
export const MQTT_FRAME_CAP_BYTES = 2 * MQTT_PAYLOAD_CAP_BYTES;

export interface Message {
  readonly topic: string;
  readonly qos: number;
  readonly retain: boolean;
  readonly payload: Uint8Array;
}

/** May this device subscribe to `topic`? The refusal, or undefined for yes. */
export function decideSubscribe(deviceId: string, topic: string, qos: number): MqttRefusal | undefined {
  return refuseTopic(topic, [hintTopic(deviceId)]) ?? (qos > 1 ? 'mqtt-qos-refused' : undefined);
}

/** May this device publish `message`? The refusal, or undefined for yes. */
export function decidePublish(deviceId: string, message: Message): MqttRefusal | undefined {
  if (message.retain) return 'mqtt-retain-refused';
  const refusal = refuseTopic(message.topic, [statusTopic(deviceId), presenceTopic(deviceId)]);
  if (refusal !== undefined) return refusal;
  if (message.qos > 1) return 'mqtt-qos-refused';
  if (message.payload.length > MQTT_PAYLOAD_CAP_BYTES) return 'mqtt-payload-too-large';
  if (message.topic === presenceTopic(deviceId) && decodePresence(message.payload) === undefined) {
    return 'mqtt-payload-malformed';
  }
  return undefined;
}

/** A last will is a message that the broker sends later: the same rules, and only `gone` on the presence topic. */
export function decideWill(deviceId: string, will: Message): MqttRefusal | undefined {
  const refusal = decidePublish(deviceId, will);
  if (refusal !== undefined) return refusal;
  if (will.topic !== presenceTopic(deviceId)) return 'mqtt-topic-not-own';
  return decodePresence(will.payload) === PRESENCE.gone ? undefined : 'mqtt-payload-malformed';
}

export function decodePresence(payload: Uint8Array): 'here' | 'gone' | undefined {
  if (payload.length !== 4) return undefined;
  const text = String.fromCharCode(...payload);
  return text === PRESENCE.here || text === PRESENCE.gone ? text : undefined;
}

function refuseTopic(topic: string, permitted: readonly string[]): MqttRefusal | undefined {
  if (topic.startsWith('$')) return 'mqtt-sys-topic';
  if (/[+#]/.test(topic)) return 'mqtt-wildcard';
  return permitted.includes(topic) ? undefined : 'mqtt-topic-not-own';
}
