import { chmod, copyFile, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { ONLINE_KEYS_CONTEXT } from '../../../keys/ceremony.ts';
import { inspectCeremony } from '../../../keys/ceremony-inspection.ts';
import { makeEscrowKey } from '../../../keys/escrow-key.ts';
import { openKey, readKeyFile } from '../../../keys/key-file.ts';
import { decodeSealingKey, openSealed } from '../../../platform/sealed-file.ts';
import { unhex } from '../../../trust/bytes.ts';
import { decodeTufDate } from '../../../trust/time.ts';
import { type Root, tufKeyId, tufKeyOf } from '../../../trust/tuf/metadata.ts';
import { verifyInitialRoot, verifySigned } from '../../../trust/tuf/repository.ts';
import { makeOwner } from './escrow-world.ts';
import { CHEAP, faultCode, holdCeremony, NOW_UNIX_S, passphrase, workshop } from './workshop.ts';

let folder: string;
let ceremony: string;

beforeAll(async () => {
  folder = await workshop();
  ceremony = join(folder, 'ceremony');
  await holdCeremony(ceremony);
});

async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true, recursive: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

async function signedRoot(): Promise<Root> {
  const verdict = verifyInitialRoot(await readFile(join(ceremony, 'public', '1.root.json')));
  if (!verdict.ok) throw new Error(verdict.detail);
  return verdict.value;
}

describe('a ceremony', () => {
  it('makes a root and targets that trust/ verifies, a rehearsal, for two years and one', async () => {
    const bytes = await readFile(join(ceremony, 'public', '1.root.json'));
    const root = verifyInitialRoot(bytes);
    if (!root.ok) throw new Error(root.detail);
    expect(root.value.holdfast.environment).toBe('rehearsal');
    expect(decodeTufDate(root.value.expires)).toBe(NOW_UNIX_S + 2 * 365 * 86400);
    expect(root.value.roles.root).toMatchObject({ threshold: 2, keyids: { length: 3 } });
    expect(root.value.roles.targets).toMatchObject({ threshold: 2, keyids: { length: 3 } });
    const targets = verifySigned(root.value, 'targets', await readFile(join(ceremony, 'public', '1.targets.json')));
    if (!targets.ok) throw new Error(targets.detail);
    expect(decodeTufDate(targets.value.expires)).toBe(NOW_UNIX_S + 365 * 86400);
    expect(await readFile(join(ceremony, 'server', '1.root.json'))).toEqual(bytes);
  });

  it('gives no folder a threshold of any offline role, counted from the signed root by what each folder can open', async () => {
    const root = await signedRoot();
    for (const name of await readdir(ceremony)) {
      const ids = new Set<string>();
      for (const path of (await filesBelow(join(ceremony, name))).filter((file) => file.endsWith('.key'))) {
        if (path.endsWith('sealing.key')) continue;
        const key = await openKey(await readKeyFile(path), passphrase());
        ids.add(key.keyId).add(tufKeyId(tufKeyOf(key.publicKey)));
      }
      for (const role of ['root', 'targets'] as const) {
        const held = root.roles[role].keyids.filter((id) => ids.has(id)).length;
        expect([name, role, held < root.roles[role].threshold]).toEqual([name, role, true]);
      }
      const authors = root.holdfast.authors.filter((author) => ids.has(author.keyId)).length;
      expect([name, name.startsWith('person-') && authors > 0]).toEqual([name, false]);
    }
  });

  it('scopes each author to its class', async () => {
    const { authors } = (await signedRoot()).holdfast;
    expect(authors.map((author) => author.hardwareClasses)).toEqual([['acme-cam'], ['acme-hub']]);
    const held = await readKeyFile(join(ceremony, 'author-acme-hub', 'author.key'));
    expect(authors.find((author) => author.hardwareClasses[0] === 'acme-hub')?.keyId).toBe(held.keyId);
  });

  it('seals the online keys that the root names, and gives the server nothing else', async () => {
    const root = await signedRoot();
    const server = join(ceremony, 'server');
    const sealingKey = decodeSealingKey(await readFile(join(server, 'sealing.key')));
    const plaintext = openSealed(sealingKey, await readFile(join(server, 'online-keys.sealed')), ONLINE_KEYS_CONTEXT);
    const online = JSON.parse(new TextDecoder().decode(plaintext));
    for (const role of ['snapshot', 'timestamp'] as const) {
      expect(root.roles[role].keyids).toEqual([tufKeyId(tufKeyOf(unhex(online[role].publicKey) ?? new Uint8Array()))]);
      expect(online[role].privateKey).toMatch(/^[0-9a-f]{64}$/);
    }
    expect((await readdir(server)).sort()).toEqual([
      '1.root.json',
      '1.targets.json',
      'online-keys.sealed',
      'sealing.key',
    ]);
  });

  it('makes folders 0700 and files 0600, whatever the umask is', async () => {
    for (const entry of await readdir(ceremony, { withFileTypes: true, recursive: true })) {
      const mode = (await stat(join(entry.parentPath, entry.name))).mode & 0o777;
      expect([entry.name, mode.toString(8)]).toEqual([entry.name, entry.isDirectory() ? '700' : '600']);
    }
    expect(((await stat(ceremony)).mode & 0o777).toString(8)).toBe('700');
  });

  it('leaves no private half anywhere in clear', async () => {
    const secrets: Buffer[] = [];
    const server = join(ceremony, 'server');
    const sealingKey = decodeSealingKey(await readFile(join(server, 'sealing.key')));
    const opened = openSealed(sealingKey, await readFile(join(server, 'online-keys.sealed')), ONLINE_KEYS_CONTEXT);
    for (const half of Object.values(
      JSON.parse(new TextDecoder().decode(opened)) as Record<string, { privateKey: string }>,
    )) {
      secrets.push(Buffer.from(half.privateKey, 'latin1'), Buffer.from(half.privateKey, 'hex'));
    }
    for (const path of await filesBelow(ceremony)) {
      const content = await readFile(path);
      for (const secret of secrets) expect([path, content.includes(secret)]).toEqual([path, false]);
      expect([path, content.includes('correct horse')]).toEqual([path, false]);
    }
  });

  it('names the owners in the signed root, and no owner when nobody said who', async () => {
    expect((await signedRoot()).holdfast.escrowKeys).toEqual([]);
    const directory = join(await workshop(), 'c');
    const owners = [makeOwner().publicKey, makeOwner().publicKey];
    await holdCeremony(directory, { escrowKeys: owners });
    const { root, problems } = await inspectCeremony(directory);
    expect(root.holdfast.escrowKeys).toEqual(owners.map((key) => Buffer.from(key).toString('hex')));
    expect(problems).toEqual([]);
  });

  it('passes its own inspection', async () => {
    const { problems, keys } = await inspectCeremony(ceremony);
    expect(problems).toEqual([]);
    expect(keys).toHaveLength(8);
  });

  it.each([
    [2, { root: 2, targets: 2 }],
    [5, { root: 3, targets: 2 }],
  ])('of %i people sets the thresholds', async (people, thresholds) => {
    const { record } = await holdCeremony(join(await workshop(), 'c'), { people });
    expect(record.thresholds).toEqual(thresholds);
    expect(record.people).toHaveLength(people);
  });
});

describe('a ceremony refuses', () => {
  it('to overwrite one, or anything else', async () => {
    const before = await readFile(join(ceremony, 'public', '1.root.json'));
    expect(await faultCode(() => holdCeremony(ceremony))).toBe('ceremony-exists');
    expect(await readFile(join(ceremony, 'public', '1.root.json'))).toEqual(before);
    const busy = await workshop();
    await writeFile(join(busy, 'note.txt'), 'mine');
    expect(await faultCode(() => holdCeremony(busy))).toBe('ceremony-exists');
    expect(await readdir(busy)).toEqual(['note.txt']);
  });

  it('a folder inside a git work tree, also through a link or by a .git file, and leaves nothing there', async () => {
    const repository = await workshop();
    await mkdir(join(repository, '.git'));
    await mkdir(join(repository, 'sub'));
    const outside = await workshop();
    await symlink(join(repository, 'sub'), join(outside, 'link'));
    const worktree = await workshop();
    await writeFile(join(worktree, '.git'), 'gitdir: elsewhere');
    for (const place of [
      join(repository, 'c'),
      join(repository, 'a', 'b', 'c'),
      join(outside, 'link', 'c'),
      join(worktree, 'c'),
    ]) {
      expect([place, await faultCode(() => holdCeremony(place))]).toEqual([place, 'ceremony-inside-repository']);
    }
    expect(await readdir(repository)).toEqual(['.git', 'sub']);
    expect(await readdir(join(repository, 'sub'))).toEqual([]);
  });

  it('a weak passphrase, one person, no class, a bad name; and leaves nothing behind', async () => {
    const place = await workshop();
    const target = join(place, 'c');
    expect(await faultCode(() => holdCeremony(target, { passphraseFor: async () => passphrase('short') }))).toBe(
      'passphrase-too-short',
    );
    expect(await faultCode(() => holdCeremony(target, { people: 1 }))).toBe('ceremony-request-wrong');
    expect(await faultCode(() => holdCeremony(target, { hardwareClasses: [] }))).toBe('ceremony-request-wrong');
    expect(await faultCode(() => holdCeremony(target, { hardwareClasses: ['../x'] }))).toBe('ceremony-request-wrong');
    expect(await faultCode(() => holdCeremony(target, { vendor: 'Acme Inc.' }))).toBe('ceremony-request-wrong');
    expect(await readdir(place)).toEqual([]);
  });

  it('one owner alone, or seventeen', async () => {
    for (const count of [1, 17]) {
      const directory = join(await workshop(), 'c');
      const escrowKeys = Array.from({ length: count }, () => makeOwner().publicKey);
      expect(await faultCode(() => holdCeremony(directory, { escrowKeys }))).toBe('escrow-owners-wrong');
    }
  });

  it('to go on when a passphrase fails in the middle, and leaves nothing behind', async () => {
    const place = await workshop();
    let asked = 0;
    const failing = async () => {
      asked += 1;
      return asked > 4 ? passphrase('short') : passphrase();
    };
    expect(await faultCode(() => holdCeremony(join(place, 'c'), { passphraseFor: failing }))).toBe(
      'passphrase-too-short',
    );
    expect(await readdir(place)).toEqual([]);
  });
});

describe('an inspection finds', () => {
  async function spoiled(spoil: (directory: string) => Promise<void>): Promise<string[]> {
    const directory = join(await workshop(), 'c');
    await holdCeremony(directory);
    await spoil(directory);
    return [...new Set((await inspectCeremony(directory)).problems.map((problem) => problem.code))].sort();
  }

  it('a second key of a role in one folder', async () => {
    expect(
      await spoiled((at) => copyFile(join(at, 'person-2', 'root.key'), join(at, 'person-1', 'spare.key'))),
    ).toEqual(['folder-holds-threshold']);
  });

  it('an offline key on the server', async () => {
    expect(await spoiled((at) => copyFile(join(at, 'person-2', 'root.key'), join(at, 'server', 'x')))).toEqual([
      'offline-key-on-server',
    ]);
  });

  it.each(['person-1/root.key', 'server/sealing.key', 'server/online-keys.sealed'])(
    '%s in the public folder',
    async (path) => {
      expect(await spoiled((at) => copyFile(join(at, path), join(at, 'public', 'readme')))).toEqual([
        'secret-in-public',
      ]);
    },
  );

  it("an owner's key where it does not belong", async () => {
    const { content } = await makeEscrowKey('ann', passphrase(), CHEAP);
    const put = (folder: string) => (at: string) => writeFile(join(at, folder, 'x'), content, { mode: 0o600 });
    expect(await spoiled(put('server'))).toEqual(['offline-key-on-server']);
    expect(await spoiled(put('public'))).toEqual(['secret-in-public']);
    expect(await spoiled(put('person-1'))).toEqual([]);
  });

  it('files and folders that others may read', async () => {
    expect(await spoiled((at) => chmod(join(at, 'person-1', 'root.key'), 0o644))).toEqual(['permissions-too-open']);
    expect(await spoiled((at) => chmod(join(at, 'person-1'), 0o750))).toEqual(['permissions-too-open']);
  });

  it("another ceremony's key, a damaged one, and one that is away", async () => {
    expect(
      await spoiled((at) => copyFile(join(ceremony, 'person-1', 'root.key'), join(at, 'person-1', 'root.key'))),
    ).toEqual(['key-missing', 'key-not-in-root']);
    expect(await spoiled((at) => writeFile(join(at, 'person-1', 'root.key'), '{"format":"holdfast-key-1"}'))).toEqual([
      'key-file-damaged',
      'key-missing',
    ]);
    expect(await spoiled((at) => rm(join(at, 'person-1', 'root.key')))).toEqual(['key-missing']);
  });

  it('a root that was altered, and refuses to say anything else', async () => {
    const directory = join(await workshop(), 'c');
    await holdCeremony(directory);
    const path = join(directory, 'public', '1.root.json');
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.replace('"threshold":2', '"threshold":1'));
    expect(await faultCode(() => inspectCeremony(directory))).toBe('metadata-signature-invalid');
  });
});
