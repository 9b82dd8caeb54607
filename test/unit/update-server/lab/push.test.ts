import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nodeDisk } from '../../../../platform/disk.ts';
import { Fault } from '../../../../platform/fault.ts';
import { sha256Hex } from '../../../../trust/crypto.ts';
import { verifyRelease } from '../../../../trust/release.ts';
import { makeLabCeremony, openLabKeys } from '../../../../update-server/lab/lab-keys.ts';
import { Lab } from '../../../../update-server/lab/push.ts';
import { ArtifactFolder } from '../../../../update-server/repository/artifacts.ts';
import { importCeremony } from '../../../../update-server/repository/import-ceremony.ts';
import { MetadataFolder } from '../../../../update-server/repository/metadata-folder.ts';
import { OnlineKeys } from '../../../../update-server/repository/online-keys.ts';
import { Repository } from '../../../../update-server/repository/repository.ts';
import { chunks } from '../repository/fixture.ts';
import { poll, Testbed } from '../testbed.ts';

let bed: Testbed;
let repository: Repository;
let lab: Lab;
beforeEach(async () => {
  bed = await Testbed.start();
  await bed.startApi();
  const { directory, sealingKey, store, events, clock } = bed;
  const keysPath = join(directory, 'keys.sealed');
  const metadata = await MetadataFolder.open(nodeDisk, join(directory, 'metadata'));
  const ceremony = await makeLabCeremony(nodeDisk, keysPath, sealingKey, Math.floor(clock.now / 1000));
  await importCeremony(
    { disk: nodeDisk, metadata, sealedKeysPath: join(directory, 'online') },
    ceremony,
    sealingKey,
    'lab',
  );
  const onlineKeys = OnlineKeys.open(sealingKey, ceremony.sealedOnlineKeys, 'lab');
  const artifacts = await ArtifactFolder.open(nodeDisk, join(directory, 'artifacts'));
  repository = await Repository.open({ disk: nodeDisk, metadata, artifacts, onlineKeys, store, events, clock });
  const keys = await openLabKeys(nodeDisk, keysPath, sealingKey);
  lab = new Lab({ repository, store, events, clock, keys, vendor: 'acme.example' });
});
afterEach(() => bed.stop());

async function upload(sizeBytes: number): Promise<string> {
  const bytes = new Uint8Array(randomBytes(sizeBytes));
  const sha256 = sha256Hex(bytes);
  await repository.putArtifact(sha256, chunks(bytes), bytes.length);
  return sha256;
}

const push = (component: string, sha256: string, others?: { component: string; sha256: string }[]) =>
  lab.push({ deviceId: 'cam-0001', component, sha256, ...(others === undefined ? {} : { others }) }, 'tester');

test('every file that a lab signs says so', () => {
  expect(repository.environment()).toBe('lab');
  expect(repository.root.holdfast.environment).toBe('lab');
});

test('a pushed image becomes the next release and is offered to its device alone; the others are carried over', async () => {
  const [device, bystander] = [await bed.enrolled('cam-0001'), await bed.enrolled('cam-0002')];
  await device.send('POST', '/device/v1/poll', poll);
  await bystander.send('POST', '/device/v1/poll', poll);
  const [boot, rootfs, next] = [await upload(1000), await upload(2_500_000), await upload(2_500_000)];
  const hints: string[] = [];
  bed.events.subscribe((event) => {
    if (event.kind === 'hint') hints.push(event.id);
  });
  const first = await push('rootfs', rootfs, [{ component: 'boot', sha256: boot }]);
  expect(first).toMatchObject({ ok: true, answer: { sequence: 2, version: 'lab.2' } });
  expect(hints).toEqual(['cam-0001']);
  const second = await push('rootfs', next);
  expect(second).toMatchObject({ ok: true, answer: { sequence: 3 } });
  const [release] = (await bed.store.listReleases()).filter((one) => one.sequence === 3);
  expect(release?.images.map((image) => [image.component, image.sha256]).sort()).toEqual([
    ['boot', boot],
    ['rootfs', next],
  ]);
  const answer = await device.send('POST', '/device/v1/poll', poll);
  expect(answer.body.action).toMatchObject({ sequence: 3, releasePath: release?.releasePath });
  expect((await bystander.send('POST', '/device/v1/poll', poll)).body.action).toBeNull();
});

test("what it signs is what a lab device takes, by the device's own verifier", async () => {
  await bed.enrolled('cam-0001');
  const pushed = await push('rootfs', await upload(2_000_000));
  expect(pushed.ok).toBe(true);
  const releasePath = 'releases/acme-cam/stable/1/release.suit';
  const sha256 = repository.targets.targets[releasePath]?.hashes.sha256 ?? '';
  const pieces: Buffer[] = [];
  for await (const piece of repository.readArtifact(sha256, 0, 65_535)) pieces.push(piece as Buffer);
  const verdict = verifyRelease({
    root: repository.root,
    targets: repository.targets,
    releasePath,
    envelope: new Uint8Array(Buffer.concat(pieces)),
    device: { vendor: 'acme.example', hardwareClass: 'acme-cam', channel: 'stable' },
    installedSequence: 0,
    floorSequence: 0,
  });
  expect(verdict.ok).toBe(true);
});

test('an image that was not uploaded, and a device that does not exist, are refused', async () => {
  await bed.enrolled('cam-0001');
  expect(await push('rootfs', '0'.repeat(64))).toMatchObject({ ok: false, code: 'artifact-missing' });
  const sha256 = await upload(1000);
  expect(await lab.push({ deviceId: 'cam-0009', component: 'rootfs', sha256 }, 'tester')).toMatchObject({
    ok: false,
    code: 'device-unknown',
  });
});

test('its keys are the same after a restart, and damaged ones end in one fault', async () => {
  const path = join(bed.directory, 'keys.sealed');
  const again = await openLabKeys(nodeDisk, path, bed.sealingKey);
  expect(repository.root.roles.root.keyids).toEqual([again.root.keyId]);
  await expect(openLabKeys(nodeDisk, path, new Uint8Array(32))).rejects.toThrow(Fault);
  await writeFile(path, 'garbage');
  await expect(openLabKeys(nodeDisk, path, bed.sealingKey)).rejects.toThrow(Fault);
});
