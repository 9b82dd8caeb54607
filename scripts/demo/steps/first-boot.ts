/** Step 4: devices make secrets of their own before anything else, again when they are asked to, and their owner can get in. */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { testHash } from '../../../cli/image-lint/crypt.ts';
import { type DemoRun, HARDWARE_CLASS } from '../demo-run.ts';
import { LOGINS_TRIED, type SecretsInEffect, secretsInEffect } from '../factory-left.ts';
import { ownerKey } from './ceremony.ts';
import { comeUp } from './devices.ts';

const ROTATION_LIMIT_MS = 120_000;

const Standings = v.object({ standings: v.object({ proven: v.number(), factory: v.number() }) });
const Devices = v.object({ devices: v.array(v.object({ deviceId: v.string() })) });
const Rotation = v.object({ rotation: v.object({ rotationId: v.string(), state: v.string(), rotated: v.number() }) });
const Request = v.object({ request: v.object({ requestId: v.string() }) });
const Opened = v.object({ secrets: v.array(v.object({ name: v.string(), text: v.string() })) });

export async function firstBoot(run: DemoRun): Promise<void> {
  await comeUp(run);
  const { standings } = v.parse(Standings, await run.words.holdfast(['credentials', 'status']));
  run.check(standings.proven === run.deviceIds.length, `proven by a signed statement: ${standings.proven} devices`);
  const { devices } = v.parse(Devices, await run.words.holdfast(['devices', '--factory']));
  run.check(devices.length === 0, `with factory secrets: ${devices.map(({ deviceId }) => deviceId).join() || 'none'}`);
  const first = await ownSecrets(run);
  await rotateFleet(run, first);
  await ownerGetsIn(run);
}

/** Looked up on every device, whatever it says. */
async function ownSecrets(run: DemoRun): Promise<SecretsInEffect[]> {
  const all = await Promise.all(run.deviceIds.map((id) => secretsInEffect(run.devicePath(id))));
  const left = all.flatMap((one, index) => one.left.map((name) => `${run.deviceIds[index]}: ${name}`));
  run.check(
    left.length === 0,
    `${LOGINS_TRIED} factory logins, host key, login key, machine-id, broker password: ${left.join('; ') || 'gone from each device'}`,
  );
  const kinds = [all.map((one) => one.hostKey), all.map((one) => one.machineId), all.map((one) => one.brokerPassword)];
  const shared = kinds.some((values) => new Set(values).size < all.length);
  run.check(!shared, shared ? 'devices share a secret' : 'no two devices share any of them');
  return all;
}

async function rotateFleet(run: DemoRun, before: readonly SecretsInEffect[]): Promise<void> {
  const words = [
    'credentials',
    'rotate',
    '--group',
    HARDWARE_CLASS,
    '--waves',
    '100%',
    '--why',
    'a key may have leaked',
  ];
  const { rotation } = v.parse(Rotation, await run.words.holdfast(words));
  const rotated = await rotationEnds(run, rotation.rotationId);
  const after = await Promise.all(run.deviceIds.map((id) => secretsInEffect(run.devicePath(id))));
  const stayed = after.filter(
    ({ hostKey, brokerPassword, passwords }, index) =>
      hostKey === before[index]?.hostKey ||
      brokerPassword === before[index]?.brokerPassword ||
      passwords.get('root') === before[index]?.passwords.get('root'),
  );
  run.check(
    rotated === run.deviceIds.length && stayed.length === 0,
    `rotated: ${rotated} devices; ${stayed.length === 0 ? 'nothing is as before' : 'some still have a former secret'}`,
  );
}

/** How many rotated; what is not complete in time is none. */
async function rotationEnds(run: DemoRun, rotationId: string): Promise<number> {
  const ended = await run.until(ROTATION_LIMIT_MS, 300, async () => {
    const said = await run.words.holdfast(['credentials', 'status', rotationId], { quiet: true });
    const { rotation } = v.parse(Rotation, said);
    return rotation.state === 'running' ? undefined : rotation;
  });
  return ended?.state === 'complete' ? ended.rotated : 0;
}

/** The sealed blob comes through a server that cannot read it; what was opened is replaced. */
async function ownerGetsIn(run: DemoRun): Promise<void> {
  const [deviceId = ''] = run.deviceIds;
  await mkdir(run.path('escrow'), { mode: 0o700 });
  const sealed = run.path('escrow', `${deviceId}.sealed`);
  const secrets = run.path('escrow', `${deviceId}.secrets`);
  const asked = await run.words.holdfast(['escrow', 'request', deviceId, '--reason', 'locked out']);
  await run.words.holdfast(['escrow', 'approve', v.parse(Request, asked).request.requestId]);
  // Before it is fetched: what was given out is replaced at once.
  const inEffect = (await secretsInEffect(run.devicePath(deviceId))).passwords.get('root') ?? '';
  await run.words.holdfast(['escrow', 'fetch', deviceId, '--out', sealed]);
  const key = ['--key', ownerKey(run, 'ann'), '--passphrase-file', run.path('passphrase.txt')];
  const proof = ['--device-key', join(run.devicePath(deviceId), 'data/identity/device.crt')];
  await run.words.holdfast(['escrow', 'open', sealed, ...key, ...proof, '--out', secrets]);
  const opened = v.parse(Opened, JSON.parse(await readFile(secrets, 'utf8'))).secrets;
  const password = opened.find(({ name }) => name === 'password:root')?.text ?? '';
  const fits = password !== '' && (await testHash(inEffect, [password])).kind === 'fits';
  run.check(
    fits,
    `its owner opened the escrow of ${deviceId}: root's password is ${fits ? '' : 'not '}the one in effect`,
  );
  const replaced = await run.until(ROTATION_LIMIT_MS, 300, async () => {
    const now = await secretsInEffect(run.devicePath(deviceId)).catch(() => undefined);
    const hash = now?.passwords.get('root') ?? inEffect;
    const standing = (await run.words.device(deviceId)).device.credentials;
    return hash !== inEffect && now?.left.length === 0 && standing === 'proven' ? true : undefined;
  });
  run.check(replaced === true, 'what was opened is replaced');
}
