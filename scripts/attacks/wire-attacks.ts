/** The table of attacks on the wire: raw clients against the real server and broker, false servers against a device. */
import { hintTopic } from '../../protocol/mqtt-topics.ts';
import type { Attack } from './attack.ts';
import { anothersClientId, retained, subscribing } from './broker-attacks.ts';
import { anotherKey, relayedClaim, replayedClaim } from './enrolment-attacks.ts';
import { retainedHint } from './retained-hint.ts';
import { noCertificate, revocation, strangersExpired, wrongName } from './session-attacks.ts';
import type { WireLab } from './wire-lab.ts';

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
