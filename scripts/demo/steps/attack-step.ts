/** Step 7: every attack of the table, each beside its accepted twin, against a device and the running server. */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Attack, judge } from '../../attacks/attack.ts';
import { stolenIdentity } from '../../attacks/certificates.ts';
import { contentLike, offer, openCeremonyKeys } from '../../attacks/crafted-release.ts';
import { DeviceVerifier } from '../../attacks/device-verifier.ts';
import { enrolRaw } from '../../attacks/enrolment-attacks.ts';
import { IMAGE_ATTACKS, type ImageLab } from '../../attacks/image-attacks.ts';
import { StolenRepository } from '../../attacks/stolen-repository.ts';
import { WIRE_ATTACKS } from '../../attacks/wire-attacks.ts';
import type { OperatorHands, WireLab } from '../../attacks/wire-lab.ts';
import { type DemoRun, HARDWARE_CLASS, OTHER_CLASS } from '../demo-run.ts';
import { sayFact } from '../terminal.ts';

const ATTACKER = 'hub-6666';
const INSTALLED_SEQUENCE = 2;

async function imageLab(run: DemoRun, releasePath: string): Promise<ImageLab> {
  const victim = run.devicePath(run.deviceIds.at(-1) ?? '');
  const serverData = run.path('server');
  await mkdir(run.path('attacks'), { recursive: true, mode: 0o700 });
  const device = { config: join(victim, 'factory/agent.json'), data: join(victim, 'data') };
  return {
    verifier: new DeviceVerifier(device, run.path('attacks')),
    repository: await StolenRepository.steal({
      dataDirectory: serverData,
      sealingKeyFile: run.path('ceremony/server/sealing.key'),
    }),
    identity: await stolenIdentity(serverData),
    keys: await openCeremonyKeys(run.path('ceremony'), run.path('passphrase.txt'), [HARDWARE_CLASS, OTHER_CLASS]),
    releasePath,
    hardwareClass: HARDWARE_CLASS,
    otherClass: OTHER_CLASS,
    installedSequence: INSTALLED_SEQUENCE,
  };
}

function operatorHands(run: DemoRun): OperatorHands {
  return {
    async claim(deviceId) {
      const [claim] = await run.words.claims(OTHER_CLASS, [deviceId], run.path('attacks/claims'), { quiet: true });
      if (claim === undefined) throw new Error(`no claim for ${deviceId}`);
      return claim;
    },
    async revoke(deviceId) {
      await run.words.holdfast(['devices', 'revoke', deviceId, '--why', 'it attacks']);
    },
    async brokerRefusals(deviceId) {
      const entries = await run.words.audit(200);
      const own = entries.filter(({ actor, action }) => action === 'mqtt-refused' && actor === `device:${deviceId}`);
      return own.toSorted((left, right) => right.index - left.index).map(({ subject }) => subject);
    },
  };
}

async function wireLab(run: DemoRun, images: ImageLab): Promise<WireLab> {
  const operator = operatorHands(run);
  const ca = await readFile(run.path('server/pki/server-ca.pem'), 'utf8');
  const certificate = await enrolRaw(run.deviceUrl, ca, await operator.claim(ATTACKER));
  const author = images.keys.authors.get(HARDWARE_CLASS);
  if (author === undefined) throw new Error('no author key');
  const sequence = INSTALLED_SEQUENCE + 9;
  const content = contentLike(images.repository, images.releasePath, { sequence, version: `${sequence}.0.0` });
  return {
    deviceUrl: run.deviceUrl,
    mqttUrl: `mqtts://localhost:${run.ports.mqtt}`,
    ca,
    serverDataDirectory: run.path('server'),
    operator,
    attacker: { deviceId: ATTACKER, certificate },
    victimId: run.deviceIds[0] ?? '',
    verifier: images.verifier,
    repository: await offer(images.repository, { content, author, targetsKeys: images.keys.targets }),
    releasePath: content.releasePath,
    keptHint: {
      workDirectory: run.path('attacks/kept-hint'),
      rootFile: run.path('ceremony/public/1.root.json'),
      anchorsFile: run.path('server/pki/server-ca.pem'),
      identity: images.identity,
      repository: images.repository,
      deviceId: ATTACKER,
      hardwareClass: OTHER_CLASS,
      certificate,
    },
  };
}

async function runAttacks<Lab>(run: DemoRun, attacks: readonly Attack<Lab>[], lab: Lab): Promise<void> {
  for (const attack of attacks) {
    const { row, finding } = judge(attack, await attack.make(lab));
    run.refusals.push(row);
    const twin = row.twinAccepted ? 'its twin is accepted' : 'its twin is refused';
    run.check(
      finding === '',
      finding === '' ? `${row.attack}: refused by the ${row.by}, ${row.code}; ${twin}` : finding,
    );
  }
}

export async function attackEverything(run: DemoRun, releasePath: string): Promise<void> {
  sayFact('a thief has the server: its repository, its TLS identity, its online keys');
  const images = await imageLab(run, releasePath);
  await runAttacks(run, IMAGE_ATTACKS, images);
  sayFact(`on the wire: ${ATTACKER} is a device like any other, enrolled, of another class`);
  await runAttacks(run, WIRE_ATTACKS, await wireLab(run, images));
}
