import { copyFile, cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { draftRootFile, readSignedRoot, signRootFile } from '../../../keys/next-root.ts';
import { rootDifference } from '../../../keys/root-difference.ts';
import { ownerIdOf } from '../../../protocol/escrow.ts';
import { hex } from '../../../trust/bytes.ts';
import { encodeMetadata, type Root } from '../../../trust/tuf/metadata.ts';
import { verifyInitialRoot, verifyNextRoot } from '../../../trust/tuf/repository.ts';
import { makeOwner } from './escrow-world.ts';
import { faultCode, holdCeremony, NOW_UNIX_S, passphraseFor, workshop } from './workshop.ts';

const LATER_UNIX_S = NOW_UNIX_S + 86_400;
const [ann, bob, eve] = [makeOwner().publicKey, makeOwner().publicKey, makeOwner().publicKey];
const id = (key: Uint8Array): string => hex(ownerIdOf(key));

let ceremony: string;
let metadata: string;
let draft: string;
let first: Root;

beforeAll(async () => {
  ceremony = join(await workshop(), 'c');
  metadata = join(ceremony, 'public');
  await holdCeremony(ceremony, { escrowKeys: [ann, bob] });
  const verdict = verifyInitialRoot(await readFile(join(metadata, '1.root.json')));
  if (!verdict.ok) throw new Error(verdict.detail);
  first = verdict.value;
});

beforeEach(async () => {
  draft = join(await workshop(), '2.root.json');
  await writeFile(draft, (await draftRootFile(metadata, [bob, eve], LATER_UNIX_S)).bytes);
});

const sign = (person: string, changes: Partial<Parameters<typeof signRootFile>[0]> = {}) =>
  signRootFile({
    path: draft,
    metadata,
    keyPath: join(ceremony, person, 'root.key'),
    passphraseFor,
    ...changes,
  });

describe('the next root', () => {
  it('changes owners, version and expiry, and says so', async () => {
    const { root, changes } = await draftRootFile(metadata, [bob, eve], LATER_UNIX_S);
    expect(root.holdfast.escrowKeys).toEqual([hex(bob), hex(eve)]);
    expect({ ...root, version: 1, expires: first.expires, holdfast: first.holdfast }).toEqual(first);
    expect(changes.map(({ what }) => what)).toEqual(['version', 'expires', 'owner removed', 'owner added']);
    expect(changes.slice(2).map(({ detail }) => detail)).toEqual([id(ann), id(eve)]);
  });

  it('is a root that devices follow once enough people have signed, and not before', async () => {
    expect(await sign('person-1')).toMatchObject({ added: true, signatures: 1, threshold: 2, complete: false });
    expect(await faultCode(() => readSignedRoot(draft, metadata))).toBe('root-chain-broken');
    expect(await sign('person-1')).toMatchObject({ added: false, signatures: 1, complete: false });
    expect(await sign('person-3')).toMatchObject({ added: true, signatures: 2, complete: true });
    const { root, text } = await readSignedRoot(draft, metadata);
    expect(root.version).toBe(2);
    const standing = verifyInitialRoot(await readFile(join(metadata, '1.root.json')));
    if (!standing.ok) throw new Error(standing.detail);
    expect(verifyNextRoot(standing.value, new TextEncoder().encode(text))).toMatchObject({ ok: true });
  });

  it('is followed by a third', async () => {
    await sign('person-1');
    await sign('person-2');
    const folder = join(await workshop(), 'public');
    await cp(metadata, folder, { recursive: true });
    await copyFile(draft, join(folder, '2.root.json'));
    const third = await draftRootFile(folder, [], LATER_UNIX_S);
    expect(third.root.version).toBe(3);
    await writeFile(draft, third.bytes);
    expect(await sign('person-2', { metadata: folder })).toMatchObject({ signatures: 1 });
  });

  it('shows what it changes before it asks for a passphrase', async () => {
    const seen: string[] = [];
    await sign('person-2', {
      onChanges: (_root, changes) => seen.push(...changes.map(({ what }) => what)),
      async passphraseFor(holder) {
        seen.push('passphrase');
        return passphraseFor(holder);
      },
    });
    expect(seen).toEqual(['version', 'expires', 'owner removed', 'owner added', 'passphrase']);
  });

  it('refuses one owner alone', async () => {
    expect(await faultCode(() => draftRootFile(metadata, [bob], LATER_UNIX_S))).toBe('escrow-owners-wrong');
    await changeDraft((root) => ({ ...root, holdfast: { ...root.holdfast, escrowKeys: [hex(eve)] } }));
    expect(await faultCode(() => sign('person-1'))).toBe('escrow-owners-wrong');
  });

  it('is not signed when it is no next one, or for another environment', async () => {
    await changeDraft((root) => ({ ...root, version: 3 }));
    expect(await faultCode(() => sign('person-1'))).toBe('root-chain-broken');
    await changeDraft((root) => ({ ...root, version: 2, holdfast: { ...root.holdfast, environment: 'production' } }));
    expect(await faultCode(() => sign('person-1'))).toBe('environment-mismatch');
    await writeFile(draft, 'nonsense');
    expect(await faultCode(() => sign('person-1'))).toBe('json-malformed');
  });

  it("is not signed with a targets key, a stranger's key, or on roots that the signer does not trust", async () => {
    const other = join(await workshop(), 'other');
    await holdCeremony(other);
    const code = (keyPath: string, anchorPath = join(metadata, '1.root.json')) =>
      faultCode(() => sign('', { keyPath, anchorPath }));
    expect(await code(join(ceremony, 'person-1', 'targets.key'))).toBe('key-not-in-role');
    expect(await code(join(other, 'person-1', 'root.key'))).toBe('key-not-in-role');
    expect(await code(join(ceremony, 'person-1', 'root.key'), join(other, 'public', '1.root.json'))).toBe(
      'root-not-trusted',
    );
  });
});

async function changeDraft(change: (root: Root) => Root): Promise<void> {
  const { root } = await draftRootFile(metadata, [bob, eve], LATER_UNIX_S);
  await writeFile(draft, encodeMetadata(change(root), []));
}

describe('what a signer is shown', () => {
  const { environment } = { environment: 'production' as const };
  it.each<[string, (root: Root) => Root, readonly string[]]>([
    ['nothing', (root) => root, []],
    [
      'a threshold',
      (root) => ({ ...root, roles: { ...root.roles, targets: { ...root.roles.targets, threshold: 1 } } }),
      ['targets threshold'],
    ],
    [
      'a role key',
      (root) => ({ ...root, roles: { ...root.roles, timestamp: { ...root.roles.timestamp, keyids: ['00'] } } }),
      ['timestamp key removed', 'timestamp key added'],
    ],
    [
      'an author',
      (root) => ({ ...root, holdfast: { ...root.holdfast, authors: [] } }),
      ['author removed', 'author removed'],
    ],
    [
      'a server',
      (root) => ({
        ...root,
        holdfast: { ...root.holdfast, servers: [{ url: 'https://x', mqttUrl: null, anchors: [] }] },
      }),
      ['server added', 'servers'],
    ],
    ['the environment', (root) => ({ ...root, holdfast: { ...root.holdfast, environment } }), ['environment']],
    ['a member that nobody knows', (root) => ({ ...root, note: 'x' }) as Root, ['note']],
    ['a member that is gone', (root) => ({ ...root, consistent_snapshot: false }), ['consistent_snapshot']],
  ])('names %s', (_what, change, named) => {
    expect(rootDifference(first, change(first)).map(({ what }) => what)).toEqual(named);
  });

  it("names a server's other certificate though its address is the same", () => {
    const at = (anchor: string): Root => ({
      ...first,
      holdfast: { ...first.holdfast, servers: [{ url: 'https://x', mqttUrl: null, anchors: [anchor] }] },
    });
    expect(rootDifference(at('AAAA'), at('BBBB')).map(({ what }) => what)).toEqual(['servers']);
  });
});
