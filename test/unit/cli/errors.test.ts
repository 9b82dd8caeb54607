/** Every way in which a person gets it wrong: one clear message, a stable code and exit status, no stack trace. */
import { chmod, cp, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { holdCeremony, PHRASE, workshop, writeImage } from '../keys/workshop.ts';
import { buildWords, documentOf, type Run, runHoldfast } from './run-holdfast.ts';
import { type ScriptedServer, sendJson, startScriptedServer } from './scripted-server.ts';

let home: string;
let at: (...parts: string[]) => string;
let server: ScriptedServer;
let closedPort: number;

beforeAll(async () => {
  home = await workshop();
  at = (...parts) => join(home, ...parts);
  await holdCeremony(at('cer'));
  await holdCeremony(at('other'));
  await writeFile(at('pass'), `${PHRASE}\n`);
  await writeFile(at('wrong'), 'not the passphrase\n');
  await writeFile(at('empty'), '\n');
  await writeFile(at('garbage'), Buffer.from([0, 1, 2, 255, 254]));
  await writeFile(at('big'), Buffer.alloc(2 * 1024 * 1024));
  await writeFile(at('token'), 'hf1_0123456789abcdef\n');
  await writeImage(at('boot.img'), 5000, 1);
  await mkdir(at('repo', '.git'), { recursive: true });
  await mkdir(at('damaged'));
  await writeFile(at('damaged', 'profile.json'), '{');
  server = await startScriptedServer(await workshop());
  server.answer((_request, response) =>
    sendJson(response, 401, { ok: false, code: 'token-refused', what: 'the token is not known', cure: 'Log in.' }),
  );
  await writeFile(at('ca.pem'), server.ca);
  const probe = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => probe.once('listening', resolve));
  const address = probe.address();
  closedPort = typeof address === 'object' && address !== null ? address.port : 1;
  await new Promise((resolve) => probe.close(resolve));
});
afterAll(() => server.close());

function failed(run: Run, code: string, status: number): void {
  expect(documentOf(run)).toMatchObject({ ok: false, code, what: expect.any(String), cure: expect.any(String) });
  expect(run.status).toBe(status);
  expect(run.stderr).toContain(`[${code}]`);
  expect(run.stderr).toContain('cure: ');
  expect(run.stderr + run.stdout).not.toMatch(/\n\s+at .*[:(]\d+/);
}

const BUILD = buildWords('2', 2);
const INIT = ['keys', 'init', '--vendor', 'acme.example', '--class', 'acme-cam'];

// Paths in the arguments are relative to the home; {…} are put in at run time.
const TABLE: readonly (readonly [what: string, args: readonly string[], code: string, status: number])[] = [
  ['no command', [], 'command-missing', 2],
  ['an unknown command', ['frobnicate'], 'command-unknown', 2],
  ['a group alone', ['keys'], 'command-missing', 2],
  ['an unknown command of a group', ['keys', 'forge'], 'command-unknown', 2],
  ['an unknown option', ['keys', 'show', 'cer', '--verbose'], 'option-unknown', 2],
  ['an unknown option where another is missing', ['keys', 'init', '--dri', 'x'], 'option-unknown', 2],
  ['a missing option', ['keys', 'init', '--dir', 'x'], 'option-missing', 2],
  ['an option without its value', ['keys', 'init', '--dir'], 'option-value-missing', 2],
  ['a missing argument', ['keys', 'show'], 'argument-missing', 2],
  ['an argument too many', ['keys', 'show', 'a', 'b'], 'argument-unexpected', 2],
  ['a passphrase on the command line', [...INIT, '--dir', 'new', '--passphrase', 'secret'], 'option-unknown', 2],
  ['a ceremony over another', [...INIT, '--dir', 'cer', '--passphrase-file', 'pass'], 'ceremony-exists', 4],
  [
    'a ceremony inside a repository',
    [...INIT, '--dir', 'repo/keys', '--passphrase-file', 'pass'],
    'ceremony-inside-repository',
    4,
  ],
  [
    'a ceremony of one',
    [...INIT, '--dir', 'new', '--people', '1', '--passphrase-file', 'pass'],
    'ceremony-request-wrong',
    2,
  ],
  [
    'a number of people that is none',
    [...INIT, '--dir', 'new', '--people', 'three', '--passphrase-file', 'pass'],
    'number-malformed',
    2,
  ],
  [
    'an algorithm that nobody knows',
    [...INIT, '--dir', 'new', '--author-algorithm', 'rsa', '--passphrase-file', 'pass'],
    'algorithm-unknown',
    2,
  ],
  [
    'a passphrase file that is not there',
    [...INIT, '--dir', 'new', '--passphrase-file', 'nowhere'],
    'path-not-found',
    3,
  ],
  ['an empty passphrase', [...INIT, '--dir', 'new', '--passphrase-file', 'empty'], 'passphrase-empty', 3],
  ['no passphrase and no terminal', [...INIT, '--dir', 'new'], 'passphrase-missing', 2],
  ['a ceremony below a file', [...INIT, '--dir', 'pass/keys', '--passphrase-file', 'pass'], 'path-kind-wrong', 3],
  ['a wrong path', ['keys', 'show', 'nowhere'], 'path-not-found', 3],
  ['garbage as a key', ['keys', 'show', 'garbage'], 'key-file-malformed', 3],
  ['a huge file as a key', ['keys', 'show', 'big'], 'file-too-large', 3],
  ['a folder that is no ceremony', ['keys', 'verify', 'repo'], 'path-not-found', 3],
  [
    'an image that is not there',
    [...BUILD, '--metadata', 'cer/public', '--image', 'boot=none.img', '--out', 'r1'],
    'path-not-found',
    3,
  ],
  [
    'an image that is a folder',
    [...BUILD, '--metadata', 'cer/public', '--image', 'boot=repo', '--out', 'r1'],
    'path-kind-wrong',
    3,
  ],
  [
    'an image without component',
    [...BUILD, '--metadata', 'cer/public', '--image', 'boot.img', '--out', 'r1'],
    'image-malformed',
    2,
  ],
  ['no image', [...BUILD, '--metadata', 'cer/public', '--out', 'r1'], 'images-malformed', 2],
  ['no metadata', [...BUILD, '--image', 'boot=boot.img', '--out', 'r1'], 'option-missing', 2],
  [
    'two sources of metadata',
    [...BUILD, '--metadata', 'cer/public', '--server', '--image', 'boot=boot.img', '--out', 'r1'],
    'options-conflict',
    2,
  ],
  [
    'a folder without metadata',
    [...BUILD, '--metadata', 'repo', '--image', 'boot=boot.img', '--out', 'r1'],
    'metadata-missing',
    3,
  ],
  [
    'a sequence that is no number',
    [...BUILD.slice(0, -1), 'two', '--metadata', 'cer/public', '--image', 'boot=boot.img', '--out', 'r1'],
    'number-malformed',
    2,
  ],
  [
    'a class without an author',
    [
      'release',
      'build',
      '--vendor',
      'acme.example',
      '--class',
      'acme-door',
      '--channel',
      'stable',
      '--version',
      '2',
      '--sequence',
      '2',
      '--metadata',
      'cer/public',
      '--image',
      'boot=boot.img',
      '--out',
      'r1',
    ],
    'author-missing',
    4,
  ],
  [
    'a build over another',
    [...BUILD, '--metadata', 'cer/public', '--image', 'boot=boot.img', '--out', 'rel'],
    'release-folder-exists',
    4,
  ],
  [
    'garbage as a key to sign with',
    ['release', 'sign', 'rel', '--key', 'garbage', '--passphrase-file', 'pass'],
    'key-file-malformed',
    3,
  ],
  [
    'a wrong passphrase',
    ['release', 'sign', 'rel', '--key', 'cer/author-acme-cam/author.key', '--passphrase-file', 'wrong'],
    'passphrase-wrong',
    3,
  ],
  [
    'a foreign key',
    [
      'release',
      'sign',
      'rel',
      '--key',
      'other/author-acme-cam/author.key',
      '--root',
      'cer/public/1.root.json',
      '--passphrase-file',
      'pass',
    ],
    'author-unknown',
    4,
  ],
  [
    'a foreign root',
    ['release', 'sign', 'rel', '--key', 'other/author-acme-cam/author.key', '--passphrase-file', 'pass'],
    'root-not-trusted',
    4,
  ],
  [
    'a person before the author',
    ['release', 'sign', 'rel', '--key', 'cer/person-1/targets.key', '--passphrase-file', 'pass'],
    'signature-order-wrong',
    4,
  ],
  [
    'a root key',
    ['release', 'sign', 'rel', '--key', 'cer/person-1/root.key', '--passphrase-file', 'pass'],
    'key-role-wrong',
    4,
  ],
  [
    'a folder that is no release',
    ['release', 'sign', 'repo', '--key', 'cer/person-1/targets.key', '--passphrase-file', 'pass'],
    'path-not-found',
    3,
  ],
  ['nobody logged in', ['devices', 'list'], 'not-logged-in', 3],
  ['no server named', ['login', '--token-file', 'token'], 'option-missing', 2],
  [
    'a server without https',
    ['login', '--server', 'http://127.0.0.1:1', '--ca', 'ca.pem', '--token-file', 'token'],
    'url-malformed',
    3,
  ],
  [
    'a token on the command line',
    ['login', '--server', '{url}', '--ca', 'ca.pem', '--token', 'hf1_x'],
    'option-unknown',
    2,
  ],
  [
    'an authority that is none',
    ['login', '--server', '{url}', '--ca', 'garbage', '--token-file', 'token'],
    'ca-malformed',
    3,
  ],
  [
    'a token that is none',
    ['login', '--server', '{url}', '--ca', 'ca.pem', '--token-file', 'garbage'],
    'token-malformed',
    3,
  ],
  ['no token on standard input', ['login', '--server', '{url}', '--ca', 'ca.pem'], 'token-malformed', 3],
  [
    'a server that is down',
    ['login', '--server', '{closed}', '--ca', 'ca.pem', '--token-file', 'token'],
    'server-unreachable',
    6,
  ],
  [
    'a token that the server does not know',
    ['login', '--server', '{url}', '--ca', 'ca.pem', '--token-file', 'token'],
    'token-refused',
    4,
  ],
  ['a data folder without a server', ['login', '--server-data', 'repo', '--token-file', 'token'], 'path-not-found', 3],
  ['waves that shrink', ['rollout', 'start', 'r', '--waves', '50%,10%'], 'waves-malformed', 2],
  ['a duration without unit', ['rollout', 'start', 'r', '--waves', '1', '--soak', '30'], 'duration-malformed', 2],
  ['a timeout of nothing', ['rollout', 'start', 'r', '--waves', '1', '--timeout', '0s'], 'duration-malformed', 2],
  [
    'a share without percent sign',
    ['rollout', 'start', 'r', '--waves', '1', '--max-failed', '20'],
    'percentage-malformed',
    2,
  ],
  ['a role that nobody has', ['tokens', 'create', 'anna', '--role', 'king'], 'role-unknown', 2],
  ['a reason that does not exist', ['devices', 'list', '--reason', 'bad-luck'], 'reason-unknown', 2],
  ['claims for nobody', ['devices', 'claims', '--class', 'acme-cam', '--out', 'claims'], 'ids-malformed', 2],
  [
    'a claim for a bad id',
    ['devices', 'claims', '--class', 'acme-cam', '--ids', '../x', '--out', 'claims'],
    'ids-malformed',
    2,
  ],
  [
    'claims inside a repository',
    ['devices', 'claims', '--class', 'acme-cam', '--ids', 'a', '--out', 'repo/claims'],
    'claims-inside-repository',
    4,
  ],
];

describe('a mistake ends in one clear message:', () => {
  beforeAll(async () => {
    const run = await runHoldfast([...BUILD, '--metadata', 'cer/public', '--image', 'boot=boot.img', '--out', 'rel'], {
      home,
    });
    expect(run.stderr).not.toContain('cure');
    expect(run.status).toBe(0);
  });

  it.each(TABLE)('%s', async (_what, args, code, status) => {
    const filled = args.map((word) =>
      word.replace('{url}', server.url).replace('{closed}', `https://127.0.0.1:${closedPort}`),
    );
    failed(await runHoldfast(['--json', ...filled], { home }), code, status);
  });

  it('leaves nothing half-made', async () => {
    const names = await readdir(home);
    expect(
      names.filter((name) => ['new', 'r1', 'claims', 'profile.json'].includes(name) || name.includes('unfinished')),
    ).toEqual([]);
    expect(await readdir(at('repo'))).toEqual(['.git']);
    expect(await readdir(at('rel'))).not.toContain('release.suit');
  });

  it('a damaged profile', async () => {
    failed(
      await runHoldfast(['status', '--json'], { home, env: { HOLDFAST_HOME: at('damaged') } }),
      'profile-malformed',
      7,
    );
  });

  it.skipIf(process.getuid?.() === 0)('a key that this user may not read', async () => {
    await cp(at('cer', 'person-1', 'root.key'), at('unreadable.key'));
    await chmod(at('unreadable.key'), 0);
    failed(await runHoldfast(['keys', 'show', 'unreadable.key', '--json'], { home }), 'path-not-permitted', 5);
  });

  it('without --json stdout stays empty, and --debug alone shows where it came from', async () => {
    const plain = await runHoldfast(['keys', 'show', 'garbage'], { home });
    expect([plain.stdout, plain.status]).toEqual(['', 3]);
    expect(plain.stderr).toMatch(/^holdfast keys show: .* \[key-file-malformed\]\n {2}where: garbage\n {2}cure: .*\n$/);
    const debug = await runHoldfast(['keys', 'show', 'garbage', '--debug'], { home });
    expect(debug.stderr).toMatch(/\n\s+at /);
  });
});

describe('the command line', () => {
  it('holds a ceremony with the full cost, and shows what it made', async () => {
    const made = await runHoldfast([...INIT, '--dir', 'full', '--people', '2', '--passphrase-file', 'pass', '--json'], {
      home,
    });
    expect(documentOf(made)).toMatchObject({
      ok: true,
      directory: at('full'),
      ceremony: { environment: 'rehearsal', thresholds: { root: 2, targets: 2 } },
    });
    expect(made.stderr).toContain('REHEARSAL');
    const shown = documentOf(await runHoldfast(['keys', 'show', 'full/person-1/root.key', '--json'], { home }));
    expect(shown.key).toMatchObject({ role: 'root', person: 'person-1', kdf: { N: 131072, r: 8, p: 1 } });
    expect(JSON.stringify(shown)).not.toContain('ciphertext');
    const verified = documentOf(await runHoldfast(['keys', 'verify', 'full', '--json'], { home }));
    expect(verified).toMatchObject({ ok: true, problems: [] });
  });

  it('opens every key of a ceremony, with the passphrase file from the environment', async () => {
    const env = { HOLDFAST_PASSPHRASE_FILE: at('pass') };
    expect(documentOf(await runHoldfast(['keys', 'verify', 'cer', '--open', '--json'], { home, env }))).toMatchObject({
      ok: true,
      opened: 8,
    });
  });

  it('exits 4 when a ceremony is in disorder, and says what', async () => {
    await cp(at('cer'), at('spoiled'), { recursive: true });
    await cp(at('cer', 'person-2', 'root.key'), at('spoiled', 'person-1', 'more.key'));
    const run = await runHoldfast(['keys', 'verify', 'spoiled', '--json'], { home });
    expect(run.status).toBe(4);
    expect(documentOf(run)).toMatchObject({
      ok: false,
      problems: [{ code: 'folder-holds-threshold', where: 'person-1' }],
    });
  });

  it('signs to the end, each step naming the next', async () => {
    await runHoldfast([...BUILD, '--metadata', 'cer/public', '--image', 'boot=boot.img', '--out', 'walk'], { home });
    const step = (key: string) =>
      runHoldfast(['release', 'sign', 'walk', '--key', key, '--passphrase-file', 'pass'], { home });
    expect((await step('cer/author-acme-cam/author.key')).stdout).toContain('person-N/targets.key   (2 more needed)');
    expect((await step('cer/person-2/targets.key')).stdout).toContain('1 of 2 targets signatures');
    expect((await step('cer/person-3/targets.key')).stdout).toContain('holdfast release publish walk');
    const shown = documentOf(await runHoldfast(['release', 'show', 'walk', '--json'], { home }));
    expect(shown).toMatchObject({ authorSigned: true, threshold: 2, targetsSigners: { length: 2 } });
  });

  it('logs in with a token from standard input, keeps it 0600, and says it is a rehearsal at every command', async () => {
    const root = await readFile(at('cer', 'public', '1.root.json'));
    server.answer((request, response) => {
      const { url = '' } = request;
      if (url.endsWith('/login'))
        sendJson(response, 200, { tokenId: 't-1', token: 'hf1_lasting-token', name: 'anna', role: 'admin' });
      else if (url.endsWith('/whoami'))
        sendJson(response, 200, { name: 'anna', role: 'admin', serverVersion: '0.1.0', environment: 'rehearsal' });
      else if (url.endsWith('/1.root.json')) response.writeHead(200).end(root);
      else if (url.endsWith('/releases')) sendJson(response, 200, { releases: [], transport: [] });
      else sendJson(response, 404, { ok: false, code: 'path-unknown', what: 'no', cure: 'none' });
    });
    const run = await runHoldfast(['login', '--server', server.url, '--ca', 'ca.pem', '--name', 'anna'], {
      home,
      input: 'hf1_0123456789abcdef\n',
    });
    expect([run.status, run.stderr.includes('cure')]).toEqual([0, false]);
    expect(run.stdout + run.stderr).not.toMatch(/hf1_/);
    expect(((await stat(at('profile.json'))).mode & 0o777).toString(8)).toBe('600');
    expect(JSON.parse(await readFile(at('profile.json'), 'utf8')).token).toBe('hf1_lasting-token');
    const list = await runHoldfast(['release', 'list', '--json'], { home });
    expect(documentOf(list)).toEqual({ ok: true, releases: [] });
    expect(list.stderr).toContain('REHEARSAL');
    const push = await runHoldfast(['dev', 'push', 'boot.img', '--device', 'cam-0001', '--json'], { home });
    failed(push, 'lab-only', 4);
  });

  it('shows help with an example for each of its commands, and exits 0', async () => {
    const groups: Record<string, string[]> = {
      keys: ['init', 'show', 'verify'],
      release: ['build', 'sign', 'publish', 'list', 'show'],
      devices: ['list', 'show', 'claims', 'extract-claim', 'approve', 'revoke'],
      credentials: ['list', 'rotate', 'status', 'expiring', 'pause', 'resume', 'cancel'],
      escrow: ['request', 'requests', 'approve', 'fetch', 'outstanding'],
      rollout: ['start', 'list', 'show', 'watch', 'pause', 'resume', 'cancel'],
      tokens: ['create', 'list', 'revoke'],
      audit: ['list', 'verify'],
      dev: ['push'],
    };
    const paths = [
      ['login'],
      ['status'],
      ['explain'],
      ...Object.entries(groups).flatMap(([group, names]) => names.map((name) => [group, name])),
    ];
    for (let index = 0; index < paths.length; index += 3) {
      const batch = paths.slice(index, index + 3);
      const runs = await Promise.all(batch.map((path) => runHoldfast([...path, '--help'], { home })));
      for (const [position, run] of runs.entries()) {
        const path = batch[position] ?? [];
        expect([path, run.status, run.stderr]).toEqual([path, 0, '']);
        expect(run.stdout).toContain(`holdfast ${path.join(' ')}`);
        expect(run.stdout).toMatch(/Examples?:\n {2}holdfast /);
        expect(run.stdout).toContain('--json');
      }
    }
  });
});
