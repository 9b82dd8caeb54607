import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readOwnerKeys } from '../../../../agent/first-boot/owner-keys.ts';
import { nodeDisk } from '../../../../platform/disk.ts';
import { EMPTY_HOLDFAST_ROOT } from '../../../../trust/tuf/holdfast-root.ts';
import { faultCode } from '../../keys/workshop.ts';

const key = (): string =>
  generateKeyPairSync('x25519').publicKey.export({ format: 'der', type: 'spki' }).subarray(-32).toString('hex');
const [FIRST, SECOND, SIGNED] = [key(), key(), key()];
const rootWith = (...escrowKeys: string[]) => ({ holdfast: { ...EMPTY_HOLDFAST_ROOT, escrowKeys } });
const texts = (keys: readonly Uint8Array[]): string[] => keys.map((each) => Buffer.from(each).toString('hex'));

let path: string;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-owners-'));
  path = join(folder, 'owner-keys');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('owner keys', () => {
  it('are those of the signed root, and the image is not asked', async () => {
    await writeFile(path, 'garbage');
    expect(texts(await readOwnerKeys(nodeDisk, rootWith(SIGNED, FIRST), path))).toEqual([SIGNED, FIRST]);
  });

  it("are those of the image's file while the root names none", async () => {
    await writeFile(path, `# the owners of acme\n${FIRST}  # Ann\n\n ${SECOND}\r\n`);
    expect(texts(await readOwnerKeys(nodeDisk, rootWith(), path))).toEqual([FIRST, SECOND]);
  });

  it('are none where neither names one', async () => {
    expect(await readOwnerKeys(nodeDisk, rootWith(), join(folder, 'absent'))).toEqual([]);
  });

  it.each([
    ['a line that is no key', `${FIRST}\nnonsense\n`],
    ['a key of low order', `${FIRST}\n${'00'.repeat(32)}\n`],
    ['a key twice', `${FIRST}\n${FIRST}\n`],
    ['seventeen keys', `${Array.from({ length: 17 }, key).join('\n')}\n`],
    ['more bytes than its cap', '#'.repeat(20_000)],
  ])('are refused as a whole with %s', async (_what, text) => {
    await writeFile(path, text);
    expect(await faultCode(() => readOwnerKeys(nodeDisk, rootWith(), path))).toBe('owner-keys-malformed');
  });
});
