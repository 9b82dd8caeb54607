/**
 * Attacks on the broker. MQTT 3.1.1 has no codes for most refusals, so what refused is read from the audit log that the
 * broker writes.
 */
import type { MqttClient } from 'mqtt';
import { hintTopic, PRESENCE, presenceTopic } from '../../protocol/mqtt-topics.ts';
import { type AttackOutcome, accepted, refused, type Verified } from './attack.ts';
import { connectMqtt, publish, subscribe } from './wire-clients.ts';
import type { WireLab } from './wire-lab.ts';

export const AUDIT_PATIENCE_MS = 5000;

/** What the broker wrote down about the attacker since `before`; empty when it wrote nothing. */
export async function newRefusal(lab: WireLab, before: number, detail: string): Promise<Verified> {
  const untilMs = performance.now() + AUDIT_PATIENCE_MS;
  for (;;) {
    const codes = await lab.operator.brokerRefusals(lab.attacker.deviceId);
    if (codes.length > before) return refused(codes[0] ?? '', detail);
    if (performance.now() > untilMs) return refused('', `${detail}; the broker wrote nothing down`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export const attackerOnMqtt = (lab: WireLab, clientId = lab.attacker.deviceId): Promise<MqttClient> =>
  connectMqtt({ url: lab.mqttUrl, ca: lab.ca, certificate: lab.attacker.certificate, clientId });

/** `twin` and `attack` each on a session of their own: true when the broker let it happen. */
async function onTheBroker(
  lab: WireLab,
  twin: (client: MqttClient) => Promise<boolean>,
  attack: (client: MqttClient) => Promise<boolean>,
): Promise<AttackOutcome> {
  const run = async (act: (client: MqttClient) => Promise<boolean>): Promise<boolean> => {
    const client = await attackerOnMqtt(lab);
    client.on('error', () => undefined);
    try {
      return await act(client);
    } finally {
      client.end(true);
    }
  };
  const twinDone = (await run(twin)) ? accepted() : refused('', 'the broker refused what it must allow');
  const before = (await lab.operator.brokerRefusals(lab.attacker.deviceId)).length;
  const attackDone = await run(attack);
  return { twin: twinDone, attack: attackDone ? accepted() : await newRefusal(lab, before, 'refused by the broker') };
}

export const subscribing = (topic: (lab: WireLab) => string) => (lab: WireLab) =>
  onTheBroker(
    lab,
    (client) => subscribe(client, hintTopic(lab.attacker.deviceId)),
    (client) => subscribe(client, topic(lab)),
  );

export async function anothersClientId(lab: WireLab): Promise<AttackOutcome> {
  const before = (await lab.operator.brokerRefusals(lab.attacker.deviceId)).length;
  const connects = async (clientId: string): Promise<boolean> => {
    try {
      (await attackerOnMqtt(lab, clientId)).end(true);
      return true;
    } catch {
      return false;
    }
  };
  const twin = (await connects(lab.attacker.deviceId)) ? accepted() : refused('', 'its own client id was refused');
  const attack = (await connects(lab.victimId)) ? accepted() : await newRefusal(lab, before, 'CONNECT was refused');
  return { twin, attack };
}

export const retained = (lab: WireLab): Promise<AttackOutcome> => {
  const topic = presenceTopic(lab.attacker.deviceId);
  return onTheBroker(
    lab,
    (client) => publish(client, topic, PRESENCE.here, false),
    (client) => publish(client, topic, PRESENCE.here, true),
  );
};
