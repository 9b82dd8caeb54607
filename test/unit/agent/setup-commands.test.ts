/** The commands for a person at the device, as programs: on an emulated device, whose root is a folder. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { decodeShadow } from '../../../agent/first-boot/account-files.ts';
import { FACTORY_RECORD, firstBootRecord } from '../../../agent/first-boot/first-boot-record.ts';
import { readInventory } from '../../../agent/first-boot/inventory-file.ts';
import { matchesShaCrypt } from '../../../agent/first-boot/sha-crypt.ts';
import { nodeDisk } from '../../../platform/disk.ts';
import type { FirstBootState } from '../../../protocol/device-api.ts';
import { type LabelText, verifierOf } from '../../../protocol/label.ts';

const MAIN = join(import.meta.dirname, '../../../agent/setup-main.ts');
const GOOD = 'five random words käse';
let device: string;
let config: string;
const at = (path: string): string => join(device, path);

beforeEach(async () => {
  device = await mkdtemp(join(tmpdir(), 'setup-commands-'));
  for (const folder of ['factory', 'data/first-boot', 'run/rootfs/etc']) await mkdir(at(folder), { recursive: true });
  await writeFile(at('run/rootfs/etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\npi:x:1000:1000::/home/pi:/bin/sh\n');
  await writeFile(at('run/rootfs/etc/shadow'), 'root:*:19000:0:99999:7:::\npi:*:19000:0:99999:7:::\n');
  config = at('factory/agent.json');
  await configure({ providers: { unixPasswords: { breakGlass: 'root' } } });
  await stands('reported');
});
afterEach(() => rm(device, { recursive: true }));

async function configure(firstBoot: unknown): Promise<void> {
  const content = {
    format: 'holdfast-agent-1',
    ...{ vendor: 'acme.example', hardwareClass: 'acme-cam', channel: 'stable', environment: 'rehearsal' },
    board: { kind: 'emulated', directory: '..' },
    dataDirectory: '../data',
    factoryRoot: 'root.json',
    factoryInstalled: { sequence: 1, version: '1.0.0' },
    claimFile: 'claim.json',
    server: { url: 'https://localhost:1', mqttUrl: null, anchorsFile: 'server-ca.pem' },
    firstBoot,
  };
  await writeFile(config, JSON.stringify(content));
}

const stands = (state: FirstBootState) =>
  firstBootRecord(nodeDisk, at('data/first-boot')).write({ ...FACTORY_RECORD, state, epoch: 1 });

function agent(input: string, ...words: string[]) {
  const all = [MAIN, ...words, '--config', config];
  return spawnSync(process.execPath, all, { input, encoding: 'utf8' });
}

/** What a terminal shows of it; each answer is typed once its question stands there. */
async function atTerminal(answers: readonly string[], ...words: string[]): Promise<string> {
  const line = [process.execPath, MAIN, ...words, '--config', config].map((word) => `'${word}'`).join(' ');
  const child = spawn('script', ['-qc', line, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let shown = '';
  let asked = 0;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    shown += text;
    if (shown.split(/(?:for \w+|again): /).length - 1 <= asked) return;
    child.stdin.write(`${answers[asked]}\r`);
    asked += 1;
  });
  await once(child, 'close');
  return shown;
}

const shadow = async () => decodeShadow(await readFile(at('run/rootfs/etc/shadow'), 'utf8'));

describe('holdfast-agent password', () => {
  it('takes a line on standard input, puts it into effect, keeps it for the next boots, and tells the inventory', async () => {
    const { status, stdout } = agent(`${GOOD}\n`, 'password', '--user', 'pi', '--stdin', '--json');
    expect([status, JSON.parse(stdout)]).toEqual([0, { ok: true, user: 'pi', until: 'factory-reset' }]);
    const hash = (await shadow()).get('pi') ?? '';
    expect(matchesShaCrypt(GOOD, hash)).toBe(true);
    expect(await readFile(at('data/credentials/unix-passwords.json'), 'utf8')).toContain(hash);
    expect((await shadow()).get('root')).toBe('*');
    const told = (await readInventory(nodeDisk, at('data/first-boot'))).map(({ name, state }) => [name, state]);
    expect(told).toEqual([
      ['password:pi', 'owner'],
      ['password:root', 'locked'],
    ]);
  });

  it('asks twice at a terminal, and shows neither', async () => {
    const differs = await atTerminal([GOOD, `${GOOD}!`], 'password', '--user', 'root');
    expect(differs).toContain('passwords-differ');
    expect((await shadow()).get('root')).toBe('*');
    const shown = await atTerminal([GOOD, GOOD], 'password', '--user', 'root');
    expect(shown).toMatch(/the next rotation makes and seals another[\s\S]*next: log in/);
    expect(differs + shown).not.toContain('five random words');
    expect(matchesShaCrypt(GOOD, (await shadow()).get('root') ?? '')).toBe(true);
  });

  it('refuses what is easily guessed, an account that is not there, and a device that is not open; and changes nothing', async () => {
    const before = await readFile(at('run/rootfs/etc/shadow'), 'utf8');
    const code = (input: string, ...words: string[]) => {
      const { status, stdout } = agent(input, 'password', '--stdin', '--json', ...words);
      return [status, JSON.parse(stdout).code];
    };
    expect(code('short\n', '--user', 'pi')).toEqual([4, 'password-too-short']);
    expect(code('passwordpassword\n', '--user', 'pi')).toEqual([4, 'password-listed']);
    expect(code(`${GOOD}\n${GOOD}\n`, '--user', 'pi')).toEqual([4, 'password-unwritable']);
    expect(code(`${GOOD}\n`, '--user', 'nobody-here')).toEqual([3, 'account-missing']);
    expect(agent('', 'password', '--user', 'pi').status).toBe(2);
    expect(agent('', 'password', '--stdin').status).toBe(2);
    for (const state of ['factory', 'blocked'] as const) {
      await stands(state);
      expect(code(`${GOOD}\n`, '--user', 'pi')).toEqual([4, 'first-boot-not-open']);
    }
    expect(await readFile(at('run/rootfs/etc/shadow'), 'utf8')).toBe(before);
  });
});

describe('holdfast-agent label', () => {
  const label: LabelText = { format: 'holdfast-label-1', deviceId: 'cam-0001', secret: 'aB3_'.repeat(8) };

  it('knows its own label again by a digest, and no other', async () => {
    await configure({ labelFile: 'label.json' });
    await writeFile(at('factory/label.json'), JSON.stringify(verifierOf(label)));
    expect(await readFile(at('factory/label.json'), 'utf8')).not.toContain(label.secret);
    expect(agent(`${JSON.stringify(label)}\n`, 'label', '--stdin')).toMatchObject({ status: 0 });
    const other = { ...label, secret: 'aB3-'.repeat(8) };
    for (const text of [JSON.stringify(other), label.secret, '', '{'.repeat(3000)]) {
      const { status, stdout } = agent(text, 'label', '--stdin', '--json');
      expect([status, JSON.parse(stdout).ok]).toEqual([4, false]);
    }
  });

  it('says which file is missing or wrong', async () => {
    expect(agent('x', 'label', '--stdin').stderr).toContain('label-not-configured');
    await configure({ labelFile: 'label.json' });
    expect(agent('x', 'label', '--stdin').stderr).toContain('path-not-found');
    await writeFile(at('factory/label.json'), JSON.stringify(label));
    expect(agent('x', 'label', '--stdin')).toMatchObject({ status: 3 });
  });
});
