import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Places, survey } from '../../../../agent/adopt/survey.ts';
import { configOf } from '../../../../agent/config.ts';
import { nodeDisk } from '../../../../platform/disk.ts';
import { difference, snapshot } from '../../../../scripts/package/check/snapshot.ts';
import { TestMaker } from '../../../sim/release-fixture.ts';
import { authority } from '../test-authority.ts';

let root: string;
let places: Places;
let answers: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'survey-'));
  await mkdir(join(root, 'etc'));
  places = { config: join(root, 'etc/agent.json'), units: join(root, 'units'), root };
  answers = join(root, 'etc/answers.json');
  await writeFile(join(root, 'etc/root.json'), new TestMaker().factoryRoot);
  await writeFile(join(root, 'etc/server-ca.pem'), (await authority()).certificatePem);
  const claim = { format: 'holdfast-claim-1', claimId: 'cam-0001', hardwareClass: 'acme-cam', secret: 'A'.repeat(43) };
  await writeFile(join(root, 'etc/claim.json'), JSON.stringify({ ...claim, expiresUnixMs: 4e12 }), { mode: 0o600 });
  await answer({});
});
afterEach(() => rm(root, { recursive: true, force: true }));

function answer(changes: object): Promise<void> {
  const fields = { vendor: 'acme.example', hardwareClass: 'acme-cam', channel: 'stable', environment: 'rehearsal' };
  const all = { ...fields, dataDirectory: join(root, 'data'), server: { url: 'https://localhost:1' }, ...changes };
  return writeFile(answers, JSON.stringify(all));
}

const missing = async (): Promise<string[]> =>
  (await survey(places, nodeDisk, answers)).rows.filter(({ state }) => state === 'missing').map(({ check }) => check);

describe('what adopting would find', () => {
  it('is fit with what a maker brings; looking changes nothing', async () => {
    const before = await snapshot(root, [''], []);
    expect(await missing()).toEqual([]);
    expect(difference(before, await snapshot(root, [''], []))).toEqual([]);
  });

  it('fills the answers in to a configuration that the agent takes', async () => {
    const { plan } = await survey(places, nodeDisk, answers);
    const config = configOf(plan?.files[0]?.text ?? '', places.config);
    expect(config).toMatchObject({ board: { kind: 'none' }, claimFile: join(root, 'etc/claim.json') });
    expect(config.server).toMatchObject({ mqttUrl: null, anchorsFile: join(root, 'etc/server-ca.pem') });
  });

  it.each<[string, () => Promise<unknown>, string]>([
    ['no answers', () => rm(answers), 'config'],
    ['answers that are no JSON', () => writeFile(answers, '{'), 'config'],
    ['a field that is wrong', () => answer({ environment: 'home' }), 'config'],
    ['a field that is unknown', () => answer({ colour: 'red' }), 'config'],
    ['no root', () => rm(join(root, 'etc/root.json')), 'factory-root'],
    ['a root of another environment', () => answer({ environment: 'production' }), 'factory-root'],
    ['no claim', () => rm(join(root, 'etc/claim.json')), 'identity'],
    ['a claim that others may read', () => chmod(join(root, 'etc/claim.json'), 0o644), 'claim-file'],
    ['no authority of the server', () => rm(join(root, 'etc/server-ca.pem')), 'anchors'],
  ])('names what is missing: %s', async (_name, spoil, check) => {
    await spoil();
    expect(await missing()).toContain(check);
  });

  it('demands a data partition where there are slots', async () => {
    const board = {
      kind: 'exec',
      executable: '/bin/true',
      trialAttempts: 1,
      slots: { a: { r: '/dev/x' }, b: { r: '/dev/y' } },
    };
    await answer({ board, dataDirectory: '/holdfast-test-data' });
    expect(await missing()).toContain('data');
  });

  it('tells the unit of places outside its own, and of none inside', async () => {
    const { plan } = await survey(places, nodeDisk, answers);
    expect(plan?.files[1]?.text).toContain(`ReadWritePaths="-${join(root, 'data')}"`);
    await answer({ dataDirectory: '/var/lib/holdfast' });
    expect((await survey(places, nodeDisk, answers)).plan?.files).toHaveLength(1);
    await answer({ dataDirectory: '/var/lib/holdfast-else/100%' });
    expect((await survey(places, nodeDisk, answers)).plan?.files[1]?.text).toContain('holdfast-else/100%%"');
  });

  it('keeps a configuration that stands', async () => {
    await writeFile(places.config, '{}');
    expect((await survey(places, nodeDisk, answers)).rows).toContainEqual(
      expect.objectContaining({ check: 'config', state: 'missing' }),
    );
  });

  it('says what the board looks like when the configuration says otherwise', async () => {
    await writeFile(join(root, 'etc/fw_env.config'), '');
    const { rows } = await survey(places, nodeDisk, answers);
    expect(rows).toContainEqual(expect.objectContaining({ check: 'board', says: 'none; it looks like u-boot' }));
  });
});
