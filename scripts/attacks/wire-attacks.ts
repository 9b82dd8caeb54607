/**
 * Attacks on the wire: raw clients against the real server and broker, false servers against a device. The attacker is a
 * device like any other: enrolled, with a certificate of its own; what it may not do, no stranger may.
 */
import { X509Certificate } from 'node:crypto';
import type { MqttClient } from 'mqtt';
import { DEVICE_PATHS } from '../../protocol/device-api.ts';
import type { ClaimFile } from '../../protocol/enrolment.ts';
import { hintTopic, PRESENCE, presenceTopic } from '../../protocol/mqtt-topics.ts';
import { type Attack, type AttackOutcome, accepted, refused, type Verified } from './attack.ts';
import { deviceKeyAndRequest, serverIdentity, stolenAuthority, strangersAuthority } from './certificates.ts';
import type { DeviceVerifier } from './device-verifier.ts';
import { type RetainedHintLab, retainedHint } from './retained-hint.ts';
import type { StolenRepository } from './stolen-repository.ts';
import {
  type ClientCertificate,
  chainOf,
  closedWithin,
  connectMqtt,
  proveClaim,
  publish,
  RawHttps,
  subscribe,
  verdictOf,
} from './wire-clients.ts';

/** The two things that only an operator can do or see, through the published command. */
export interface OperatorHands {
  claim(deviceId: string): Promise<ClaimFile>;
  revoke(deviceId: string): Promise<void>;
  /** Codes of the refusals that the broker wrote down for this device, newest first. */
  brokerRefusals(deviceId: string): Promise<readonly string[]>;
}

export interface WireLab {
  readonly deviceUrl: string;
  readonly mqttUrl: string;
  /** PEM of the server's authority. */
  readonly ca: string;
  readonly serverDataDirectory: string;
  readonly operator: OperatorHands;
  readonly attacker: { readonly deviceId: string; readonly certificate: ClientCertificate };
  /** Any other device of the fleet. */
  readonly victimId: string;
  readonly verifier: DeviceVerifier;
  readonly repository: StolenRepository;
  /** A release in that repository that the verifier's device accepts. */
  readonly releasePath: string;
  readonly keptHint: RetainedHintLab;
}

const AUDIT_PATIENCE_MS = 5000;
const anyMetadata = `${DEVICE_PATHS.metadata}/timestamp.json`;

/** Enrols a device as a raw client and returns its identity. */
export async function enrolRaw(deviceUrl: string, ca: string, claim: ClaimFile): Promise<ClientCertificate> {
  const { keyPem, request } = await deviceKeyAndRequest(claim.claimId);
  const connection = new RawHttps(deviceUrl, ca);
  try {
    const answer = await connection.send('POST', DEVICE_PATHS.enrol, await proveClaim(connection, claim, request));
    const chainPem = chainOf(answer);
    if (chainPem === '') throw new Error(`enrolment: ${verdictOf(answer).code}`);
    return { keyPem, chainPem };
  } finally {
    connection.close();
  }
}

async function noCertificate(lab: WireLab): Promise<AttackOutcome> {
  const ask = async (certificate?: ClientCertificate): Promise<Verified> => {
    const connection = new RawHttps(lab.deviceUrl, lab.ca, certificate);
    try {
      return verdictOf(await connection.send('GET', anyMetadata));
    } finally {
      connection.close();
    }
  };
  return { twin: await ask(lab.attacker.certificate), attack: await ask() };
}

async function strangersExpired(lab: WireLab): Promise<AttackOutcome> {
  const stranger = await serverIdentity({ authority: await strangersAuthority(), name: 'localhost', lifeDays: -1 });
  const ours = await serverIdentity({
    authority: await stolenAuthority(lab.serverDataDirectory),
    name: 'localhost',
    lifeDays: -1,
  });
  // The twin has expired as well, by the right authority: a device that slept too long must still get its metadata.
  return {
    twin: await lab.verifier.verify(lab.repository, ours, lab.releasePath),
    attack: await lab.verifier.verify(lab.repository, stranger, lab.releasePath),
  };
}

async function wrongName(lab: WireLab): Promise<AttackOutcome> {
  const authority = await stolenAuthority(lab.serverDataDirectory);
  const named = (name: string) => serverIdentity({ authority, name, lifeDays: 30 });
  return {
    twin: await lab.verifier.verify(lab.repository, await named('localhost'), lab.releasePath),
    attack: await lab.verifier.verify(lab.repository, await named('updates.other.example'), lab.releasePath),
  };
}

const serialOf = (chainPem: string): string => (chainPem === '' ? '' : new X509Certificate(chainPem).serialNumber);

async function anotherKey(lab: WireLab): Promise<AttackOutcome> {
  const claim = await lab.operator.claim(`${lab.attacker.deviceId}-b`);
  const [own, other] = [await deviceKeyAndRequest(claim.claimId), await deviceKeyAndRequest(claim.claimId)];
  const enrol = async (request: Uint8Array) => {
    const connection = new RawHttps(lab.deviceUrl, lab.ca);
    try {
      return await connection.send('POST', DEVICE_PATHS.enrol, await proveClaim(connection, claim, request));
    } finally {
      connection.close();
    }
  };
  const first = await enrol(own.request);
  const attack = verdictOf(await enrol(other.request));
  // The same key again, after the attack: the very same certificate.
  const again = await enrol(own.request);
  const same = serialOf(chainOf(first)) !== '' && serialOf(chainOf(first)) === serialOf(chainOf(again));
  return {
    twin: same ? accepted() : refused(verdictOf(again).code, 'the same key did not get the same certificate'),
    attack,
  };
}

async function replayedClaim(lab: WireLab): Promise<AttackOutcome> {
  const claim = await lab.operator.claim(`${lab.attacker.deviceId}-c`);
  const { request } = await deviceKeyAndRequest(claim.claimId);
  const [first, second] = [new RawHttps(lab.deviceUrl, lab.ca), new RawHttps(lab.deviceUrl, lab.ca)];
  try {
    const body = await proveClaim(first, claim, request);
    const twin = verdictOf(await first.send('POST', DEVICE_PATHS.enrol, body));
    return { twin, attack: verdictOf(await second.send('POST', DEVICE_PATHS.enrol, body)) };
  } finally {
    first.close();
    second.close();
  }
}

/** The nonce is fresh; the proof was made for another connection: a man in the middle passes it on. */
async function relayedClaim(lab: WireLab): Promise<AttackOutcome> {
  const claim = await lab.operator.claim(`${lab.attacker.deviceId}-d`);
  const { request } = await deviceKeyAndRequest(claim.claimId);
  const [near, far] = [new RawHttps(lab.deviceUrl, lab.ca), new RawHttps(lab.deviceUrl, lab.ca)];
  try {
    const attack = verdictOf(await far.send('POST', DEVICE_PATHS.enrol, await proveClaim(near, claim, request)));
    const twin = verdictOf(await near.send('POST', DEVICE_PATHS.enrol, await proveClaim(near, claim, request)));
    return { twin, attack };
  } finally {
    near.close();
    far.close();
  }
}

/** What the broker wrote down about the attacker since `before`; empty when it wrote nothing. */
async function newRefusal(lab: WireLab, before: number, detail: string): Promise<Verified> {
  const untilMs = performance.now() + AUDIT_PATIENCE_MS;
  for (;;) {
    const codes = await lab.operator.brokerRefusals(lab.attacker.deviceId);
    if (codes.length > before) return refused(codes[0] ?? '', detail);
    if (performance.now() > untilMs) return refused('', `${detail}; the broker wrote nothing down`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const attackerOnMqtt = (lab: WireLab, clientId = lab.attacker.deviceId): Promise<MqttClient> =>
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

const subscribing = (topic: (lab: WireLab) => string) => (lab: WireLab) =>
  onTheBroker(
    lab,
    (client) => subscribe(client, hintTopic(lab.attacker.deviceId)),
    (client) => subscribe(client, topic(lab)),
  );

async function anothersClientId(lab: WireLab): Promise<AttackOutcome> {
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

const retained = (lab: WireLab): Promise<AttackOutcome> => {
  const topic = presenceTopic(lab.attacker.deviceId);
  return onTheBroker(
    lab,
    (client) => publish(client, topic, PRESENCE.here, false),
    (client) => publish(client, topic, PRESENCE.here, true),
  );
};

/** Both live sessions were good a moment ago; the certificate was revoked in between. Ends the attacker's identity. */
async function afterRevocation(lab: WireLab): Promise<{ https: AttackOutcome; mqtt: AttackOutcome }> {
  const https = new RawHttps(lab.deviceUrl, lab.ca, lab.attacker.certificate);
  const client = await attackerOnMqtt(lab);
  client.on('error', () => undefined);
  try {
    const twin = verdictOf(await https.send('GET', anyMetadata));
    const mqttTwin = (await subscribe(client, hintTopic(lab.attacker.deviceId)))
      ? accepted()
      : refused('', 'no subscription');
    const before = (await lab.operator.brokerRefusals(lab.attacker.deviceId)).length;
    await lab.operator.revoke(lab.attacker.deviceId);
    const attack = verdictOf(await https.send('GET', anyMetadata));
    const ended = await closedWithin(client, AUDIT_PATIENCE_MS);
    const mqttAttack = ended
      ? await newRefusal(lab, before, 'the session was ended')
      : accepted('the session lives on');
    return { https: { twin, attack }, mqtt: { twin: mqttTwin, attack: mqttAttack } };
  } finally {
    https.close();
    client.end(true);
  }
}

/** One revocation, two live sessions: the second row reads what the first run found. */
const revocations = new WeakMap<WireLab, Promise<{ https: AttackOutcome; mqtt: AttackOutcome }>>();
function revocation(lab: WireLab): Promise<{ https: AttackOutcome; mqtt: AttackOutcome }> {
  const run = revocations.get(lab) ?? afterRevocation(lab);
  revocations.set(lab, run);
  return run;
}

/** The last two end the attacker's identity: they stay last. */
export const WIRE_ATTACKS: readonly Attack<WireLab>[] = [
  { name: 'no certificate', by: 'server', expectedCode: 'no-client-certificate', make: noCertificate },
  {
    name: "a stranger's expired certificate as server",
    by: 'device',
    expectedCode: 'server-certificate-untrusted',
    make: strangersExpired,
  },
  { name: 'right authority, wrong name', by: 'device', expectedCode: 'server-name-mismatch', make: wrongName },
  { name: 'claim with another key', by: 'server', expectedCode: 'claim-used-by-another-key', make: anotherKey },
  { name: 'a replayed claim', by: 'server', expectedCode: 'claim-nonce-unknown', make: replayedClaim },
  { name: 'a relayed claim', by: 'server', expectedCode: 'claim-proof-wrong', make: relayedClaim },
  {
    name: "another device's topics",
    by: 'broker',
    expectedCode: 'mqtt-topic-not-own',
    make: subscribing((lab) => hintTopic(lab.victimId)),
  },
  { name: 'a wildcard', by: 'broker', expectedCode: 'mqtt-wildcard', make: subscribing(() => hintTopic('+')) },
  { name: '$SYS', by: 'broker', expectedCode: 'mqtt-sys-topic', make: subscribing(() => '$SYS/#') },
  { name: "another's client id", by: 'broker', expectedCode: 'mqtt-client-id-mismatch', make: anothersClientId },
  { name: 'a retained message', by: 'broker', expectedCode: 'mqtt-retain-refused', make: retained },
  {
    name: 'a retained hint',
    by: 'device',
    expectedCode: 'hint-retained',
    make: (lab) => retainedHint(lab.keptHint),
  },
  {
    name: 'a live HTTPS session after revocation',
    by: 'server',
    expectedCode: 'device-revoked',
    make: async (lab) => (await revocation(lab)).https,
  },
  {
    name: 'a live MQTT session after revocation',
    by: 'broker',
    expectedCode: 'mqtt-device-revoked',
    make: async (lab) => (await revocation(lab)).mqtt,
  },
];
