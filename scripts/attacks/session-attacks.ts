/** Attacks on who may speak at all: no certificate, false servers, and sessions that outlive a revocation. */
import { DEVICE_PATHS } from '../../protocol/device-api.ts';
import { hintTopic } from '../../protocol/mqtt-topics.ts';
import { type AttackOutcome, accepted, refused, type Verified } from './attack.ts';
import { AUDIT_PATIENCE_MS, attackerOnMqtt, newRefusal } from './broker-attacks.ts';
import { serverIdentity, stolenAuthority, strangersAuthority } from './certificates.ts';
import { type ClientCertificate, closedWithin, RawHttps, subscribe, verdictOf } from './wire-clients.ts';
import type { WireLab } from './wire-lab.ts';

const anyMetadata = `${DEVICE_PATHS.metadata}/timestamp.json`;

export async function noCertificate(lab: WireLab): Promise<AttackOutcome> {
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

export async function strangersExpired(lab: WireLab): Promise<AttackOutcome> {
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

export async function wrongName(lab: WireLab): Promise<AttackOutcome> {
  const authority = await stolenAuthority(lab.serverDataDirectory);
  const named = (name: string) => serverIdentity({ authority, name, lifeDays: 30 });
  return {
    twin: await lab.verifier.verify(lab.repository, await named('localhost'), lab.releasePath),
    attack: await lab.verifier.verify(lab.repository, await named('updates.other.example'), lab.releasePath),
  };
}

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
export function revocation(lab: WireLab): Promise<{ https: AttackOutcome; mqtt: AttackOutcome }> {
  const run = revocations.get(lab) ?? afterRevocation(lab);
  revocations.set(lab, run);
  return run;
}
