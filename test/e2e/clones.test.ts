/**
 * A card that is copied after its first boot, and a board that is flashed anew: real first boots, one process a board, the
 * real server and command line. `HOLDFAST_CLONES=10 npx vitest run test/e2e/clones.test.ts` takes ten copies; the gate two.
 */
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { CarelessFactory, hashes, rootHashIn } from './careless-factory.ts';

const CLONES = Number(process.env.HOLDFAST_CLONES ?? 2);
/** A guard against a hang: all copies boot at the same time. */
const PATIENCE_MS = 120_000 + 30_000 * CLONES;
const ORIGINAL = 'cam-0001';
/** The device that the owner makes of one of the copies. */
const OF_ITS_OWN = 'cam-0900';
const RENEWED = 'the certificate is renewed';
const COPIES = Array.from({ length: CLONES }, (_, index) => `copy-${index + 1}`);

let factory: CarelessFactory;
const until = (holds: () => Promise<void>) => vi.waitFor(holds, { timeout: PATIENCE_MS, interval: 1500 });
const credentialsOf = async (deviceId: string): Promise<Credentials> =>
  (await factory.answerOf('credentials', 'list', deviceId)).credentials as Credentials;
const flagsOf = async (deviceId: string): Promise<string[]> =>
  (await credentialsOf(deviceId)).flags.map(({ code }) => code);
const deviceIds = async (): Promise<string[]> =>
  ((await factory.answerOf('devices')).devices as { deviceId: string }[]).map(({ deviceId }) => deviceId);
const isProven = (deviceId: string) =>
  until(async () => expect(await credentialsOf(deviceId)).toMatchObject({ standing: 'proven', flags: [] }));

interface Credentials {
  readonly standing: string;
  readonly epoch: number;
  readonly flags: readonly { readonly code: string }[];
  readonly waitingKeys: readonly { readonly keySha256: string }[];
}

/** All that tells one device from another, by name. */
async function identityOf(board: string): Promise<Readonly<Record<string, string>>> {
  return {
    'device key': await readFile(factory.on(board, 'data/identity/device.key'), 'utf8'),
    'machine id': await factory.inEffect(board, 'etc/machine-id'),
    'host key': await factory.inEffect(board, 'etc/ssh/ssh_host_ed25519_key'),
    'root password': rootHashIn(await factory.inEffect(board, 'etc/shadow')),
    'broker password': await factory.inEffect(board, 'etc/acme/client.conf'),
  };
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

beforeAll(async () => {
  factory = await CarelessFactory.open();
  await factory.build('original', ORIGINAL, '100000000a');
  factory.switchOn('original');
  await isProven(ORIGINAL);
  // What is captured is a device at rest: it has reported, and has the certificate that its proof earned it. A copy from
  // before that has one that is refused once the original uses the next, and would be heard of by nobody.
  await until(async () => {
    const { device, history } = await factory.answerOf('devices', 'show', ORIGINAL);
    expect(device).toMatchObject({ state: 'idle' });
    expect(history).toContainEqual(expect.objectContaining({ kind: 'renewed' }));
  });
  // The server has issued it; the device keeps it a moment later.
  await until(async () => expect(await readFile(factory.on('original', 'run/console.log'), 'utf8')).toContain(RENEWED));
  await factory.switchOff('original');
  for (const [index, copy] of COPIES.entries()) await factory.copy('original', copy, `200000000${index}`);
  for (const twin of ['twin', 'mute']) await factory.copy('original', twin, twin === 'twin' ? '100000000a' : null);
  factory.switchOn('original');
}, PATIENCE_MS);
afterAll(() => factory?.close());

describe('a card that is copied after its first boot, on other boards', { timeout: 3 * PATIENCE_MS }, () => {
  it('is no identity there: each copy finds out, makes everything its own, and waits for a person, with nothing to poll with', async () => {
    for (const copy of COPIES) factory.switchOn(copy);
    await until(async () => expect((await credentialsOf(ORIGINAL)).waitingKeys).toHaveLength(CLONES));
    const identities = await Promise.all(['original', ...COPIES].map(identityOf));
    for (const name of Object.keys(identities[0] ?? {}))
      expect(new Set(identities.map((identity) => identity[name])), name).toHaveLength(CLONES + 1);
    for (const copy of COPIES) {
      const console = await readFile(factory.on(copy, 'run/console.log'), 'utf8');
      expect(console).toContain('"event":"other-board","state":"clone-suspected"');
      expect(console).toContain('claim-used-by-another-key');
      expect(await isThere(factory.on(copy, 'data/identity/device.crt'))).toBe(false);
    }
    expect(await deviceIds()).toEqual([ORIGINAL]);
  });

  it('leaves the original as it was, and its owner with one alarm for each copy', async () => {
    expect(await credentialsOf(ORIGINAL)).toMatchObject({ standing: 'proven', flags: [], epoch: 1 });
    const { entries } = await factory.answerOf('audit', 'list');
    const alarms = (entries as { action: string }[]).filter(({ action }) => action === 'enrol.alarm');
    expect(alarms).toHaveLength(CLONES);
    expect(await factory.answerOf('devices', 'approve', ORIGINAL, '--why', 'which?')).toMatchObject({
      code: 'key-unnamed',
    });
  });

  it('becomes a device of its own with a claim of its own, once a person has approved its board', async () => {
    const [copy = ''] = COPIES;
    await factory.switchOff(copy);
    await writeFile(factory.on(copy, 'factory/claim.json'), await factory.claim(OF_ITS_OWN), { mode: 0o600 });
    factory.switchOn(copy);
    await until(async () => expect(await flagsOf(OF_ITS_OWN)).toEqual(['hardware-moved']));
    expect(await credentialsOf(OF_ITS_OWN)).toMatchObject({ standing: 'awaiting-approval' });
    expect((await factory.answerOf('devices', '--factory')).devices).toMatchObject([{ deviceId: OF_ITS_OWN }]);
    expect(await factory.answerOf('devices', 'approve', OF_ITS_OWN, '--why', 'a second camera')).toMatchObject({
      ok: true,
    });
    await isProven(OF_ITS_OWN);
    await isProven(ORIGINAL);
    // Sealed under its own name: an owner opens it as its.
    const hash = rootHashIn(await factory.inEffect(copy, 'etc/shadow'));
    const secrets = await factory.openedByOwner('ann', 'e1', { deviceId: OF_ITS_OWN, board: copy });
    expect(hashes(secrets['password:root'] ?? '', hash)).toBe(true);
    await factory.switchOff(copy);
  });
});

describe('a board that is flashed anew', { timeout: 2 * PATIENCE_MS }, () => {
  it('is known by its claim, goes on under its id once its owner has approved its key, and leaves no orphan', async () => {
    const before = await deviceIds();
    const [board = ''] = COPIES;
    await rm(factory.on(board), { recursive: true });
    await factory.build(board, OF_ITS_OWN, '2000000000');
    factory.switchOn(board);
    await until(async () => expect((await credentialsOf(OF_ITS_OWN)).waitingKeys).toHaveLength(1));
    expect(await factory.answerOf('devices', 'approve', OF_ITS_OWN, '--why', 'flashed anew')).toMatchObject({
      ok: true,
    });
    await until(async () => expect(await credentialsOf(OF_ITS_OWN)).toMatchObject({ standing: 'proven', epoch: 1 }));
    expect(await deviceIds()).toEqual(before);
    expect(await flagsOf(ORIGINAL)).toEqual([]);
    await factory.switchOff(board);
  });
});

describe('a copy on a board that looks the same, or says nothing of itself', { timeout: 2 * PATIENCE_MS }, () => {
  it('cannot know what it is, and is flagged with its original by what their reports say', async () => {
    for (const twin of ['twin', 'mute']) factory.switchOn(twin);
    await until(async () => expect(await flagsOf(ORIGINAL)).toContain('reports-went-back'));
    expect(await credentialsOf(ORIGINAL)).toMatchObject({ standing: 'flagged' });
    expect((await factory.holdfast('devices', '--factory')).stdout).toContain(ORIGINAL);
    // What either of them states does not take it away.
    await factory.holdfast('credentials', 'rotate', ORIGINAL, '--why', 'a copy runs');
    await until(async () => expect((await credentialsOf(ORIGINAL)).epoch).toBeGreaterThan(1));
    expect(await credentialsOf(ORIGINAL)).toMatchObject({ standing: 'flagged' });
  });
});
