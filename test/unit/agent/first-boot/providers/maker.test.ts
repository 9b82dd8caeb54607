/** A maker's own provider: a real executable, its secrets on standard input and output alone, its mistakes named. */
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { MakerProvider } from '../../../../../agent/first-boot/providers/maker.ts';
import { SimulatedDisk } from '../../../../sim/simulated-disk.ts';
import { bytesOf, diskStaging, folderWorld, rememberedForms, seededSecrets } from '../folder-device.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-maker-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The example of docs/FIRST_BOOT.md: a PIN in a file. */
const PROGRAM = `#!/bin/sh
set -eu
cd "$(dirname "$0")"
read -r request
field() { printf '%s' "$request" | sed -n "s/.*\\"$1\\":\\"\\{0,1\\}\\([^\\",}]*\\).*/\\1/p"; }
printf '%s\\n' "$1 $# $(env | cut -d= -f1 | sort | tr '\\n' ' ')" >>calls
case $1 in
  inspect) state=factory; [ ! -f pin ] || state=own
    printf '{"credentials":[{"name":"pin","state":"%s","epoch":%s,"fingerprint":null}]}' $state "$(cat epoch 2>/dev/null || echo 0)" ;;
  stage) secret=$(field random | cut -c1-32)
    printf '{"staged":"%s","escrow":[{"name":"pin","text":"%s"}]}' "$(printf '%s' "$secret" | base64 -w0)" "$secret" ;;
  apply) field epoch >epoch; field staged | base64 -d >pin.new; sync pin.new; mv pin.new pin; sync . ;;
  reconcile) ;;
  verify-new) [ -s pin ] && echo '{"ok":true}' || echo '{"ok":false,"code":"no-pin","detail":"there is no PIN"}' ;;
  verify-old-refused) echo '{"ok":true,"detail":"the panel does not run yet"}' ;;
  wipe) rm -f pin epoch ;;
esac
`;

async function providerOf(
  program: string,
  deadlineMs = 20_000,
): Promise<{ provider: MakerProvider; disk: SimulatedDisk }> {
  const executable = join(folder, 'provider');
  await writeFile(executable, program);
  await chmod(executable, 0o755);
  const disk = new SimulatedDisk();
  await disk.place('/data/begun', bytesOf(''));
  return {
    disk,
    provider: new MakerProvider(folderWorld(disk, rememberedForms()), { name: 'panel', executable, deadlineMs }),
  };
}

it('goes through all verbs, with randomness of ours, and nothing of it in an argument or the environment', async () => {
  const { provider, disk } = await providerOf(PROGRAM);
  expect(await provider.inspect()).toMatchObject([
    { name: 'maker:panel.pin', kind: 'maker', state: 'factory', epoch: 0 },
  ]);
  expect(await provider.verifyNew()).toEqual({ ok: false, code: 'no-pin', detail: 'there is no PIN' });
  const [secret] = await provider.stage(diskStaging(disk, 3), seededSecrets('a'));
  expect(secret).toMatchObject({ name: 'maker:panel.pin' });
  const expected = Buffer.from(seededSecrets('a').bytes(64)).toString('base64').slice(0, 32);
  expect(secret?.text).toBe(expected);
  await provider.apply(diskStaging(disk, 3));
  await provider.apply(diskStaging(disk, 3));
  expect(await readFile(join(folder, 'pin'), 'utf8')).toBe(expected);
  expect(await provider.inspect()).toMatchObject([{ state: 'own', epoch: 3 }]);
  await provider.reconcile();
  expect(await provider.verifyNew()).toEqual({ ok: true });
  expect(await provider.verifyOldRefused()).toEqual({ ok: true, detail: 'the panel does not run yet' });
  await provider.wipe();
  expect(await provider.inspect()).toMatchObject([{ state: 'factory' }]);
  const calls = (await readFile(join(folder, 'calls'), 'utf8')).trim().split('\n');
  expect(calls.length).toBeGreaterThan(8);
  for (const call of calls) {
    const [verb = '', words, ...environment] = call.trim().split(' ');
    expect(verb).toMatch(/^[a-z-]+$/);
    expect(words, 'arguments').toBe('1');
    // PATH is ours, the others the shell's own.
    expect(environment.filter((name) => !['OLDPWD', 'PATH', 'PWD', 'SHLVL', '_'].includes(name))).toEqual([]);
  }
});

it.each([
  ['an answer that is no JSON', 'echo done', 'its answer to inspect is not of the protocol'],
  ['a field more', `echo '{"credentials":[],"more":"hunter2"}'`, 'at more'],
  [
    'a state that is not in the list',
    `echo '{"credentials":[{"name":"x","state":"fine","epoch":0,"fingerprint":null}]}'`,
    'at credentials.0.state',
  ],
  ['a failure', 'echo "no panel" >&2; exit 3', 'it failed at inspect: no panel'],
  ['more output than is read', 'yes | head -c 200000', 'printed more than'],
  ['no answer in time', 'sleep 60', 'no answer within 1000 ms'],
])('is a fault that names the executable: %s', async (_, body, said) => {
  const { provider } = await providerOf(`#!/bin/sh\nread -r request\n${body}\n`, 1000);
  await expect(provider.inspect()).rejects.toThrow(said);
  await expect(provider.inspect()).rejects.not.toThrow('hunter2');
});
