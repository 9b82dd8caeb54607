import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { type CredentialProvider, EntropyMissing, type Escrow } from '../../../../agent/core/first-boot-ports.ts';
import type { FirstBootPorts } from '../../../../agent/first-boot/effects.ts';
import { OwnerEscrow } from '../../../../agent/first-boot/escrow.ts';
import { FirstBoot } from '../../../../agent/first-boot/first-boot.ts';
import { nodeDisk } from '../../../../platform/disk.ts';
import { Fault } from '../../../../platform/fault.ts';
import { recordOn } from '../../../sim/first-boot/invariants.ts';
import {
  APPLICATION,
  type Boot,
  bootDevice,
  DIRECTORY,
  factoryDisk,
  LIFE,
  RESET_REQUEST,
} from '../../../sim/first-boot/world.ts';
import type { SimulatedDisk } from '../../../sim/simulated-disk.ts';

const BOOT: Boot = { name: 'a boot', slot: 'a', board: 1, renews: true };
let disk: SimulatedDisk;
let boots = 0;
beforeEach(async () => {
  disk = await factoryDisk();
  boots = 0;
});

function start(more: Partial<FirstBootPorts> & { readonly boot?: never } = {}, boot: Boot = BOOT) {
  boots += 1;
  return bootDevice(disk, boot, { bootId: `boot ${boots}`, seed: String(boots), ...more });
}
const run = (more: Partial<FirstBootPorts> & { readonly boot?: never } = {}, boot?: Boot) => start(more, boot).run();

/** A provider beside those of the world, whose methods do nothing but what the test says. */
function provider(name: string, methods: Partial<CredentialProvider> = {}): CredentialProvider {
  return {
    name,
    inspect: async () => [],
    stage: async () => [],
    apply: async () => {},
    reconcile: async () => {},
    verifyNew: async () => ({ ok: true }),
    verifyOldRefused: async () => ({ ok: true }),
    wipe: async () => {},
    ...methods,
  };
}

const own = () => [...disk.contents()].filter(([path]) => path.startsWith('/data/own/')).map(String);
const text = (value: string) => new TextEncoder().encode(value);

describe('the first boot', () => {
  it('lives its whole life, each boot to its end', async () => {
    const epochs: (number | undefined)[] = [];
    for (const boot of LIFE) {
      await boot.before?.(disk);
      expect(await run({}, boot)).toMatchObject({ rest: 'open' });
      epochs.push(recordOn(disk)?.epoch);
    }
    expect(epochs).toEqual([1, 1, 1, 2, 3, 4, 4, 5]);
  });

  it('applies nothing while the owners cannot be sealed to, says why, and goes on in the same epoch once they can', async () => {
    const refusing: Escrow = { seal: async () => ({ ok: false, code: 'escrow-too-few-owners', detail: '1 of 2' }) };
    const before = own();
    expect(await run({ escrow: refusing })).toMatchObject({
      rest: 'blocked',
      trouble: { code: 'escrow-too-few-owners' },
    });
    expect(await run({ escrow: undefined })).toMatchObject({ rest: 'blocked', trouble: { code: 'escrow-missing' } });
    expect(own()).toEqual(before);
    expect(recordOn(disk)).toMatchObject({ state: 'blocked', resume: 'factory', epoch: 1 });
    expect(await run()).toMatchObject({ rest: 'open', record: { epoch: 1, trouble: null } });
  });

  it('makes everything once more when it is another device by now, as a copy with a claim of its own is, and else never', async () => {
    const deviceKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const owner = () =>
      new Uint8Array(generateKeyPairSync('x25519').publicKey.export({ format: 'der', type: 'spki' }).subarray(-32));
    const escrow = new OwnerEscrow({ ownerKeys: [owner(), owner()], deviceKey: async () => deviceKey });
    const bootAs = async (deviceId: () => Promise<string>) => {
      const { ports, settings } = start({ escrow });
      await new FirstBoot(ports, { ...settings, deviceId }).run();
      return recordOn(disk)?.epoch;
    };
    const claimLost = async (): Promise<string> => {
      throw new Fault({ code: 'claim-missing', what: 'no claim', where: '/claim', cure: 'none', exitStatus: 3 });
    };
    expect(await bootAs(async () => 'cam-0001')).toBe(1);
    expect(await bootAs(async () => 'cam-0001')).toBe(1);
    expect(await bootAs(claimLost)).toBe(1);
    expect(await bootAs(async () => 'cam-0900')).toBe(2);
    expect(await bootAs(async () => 'cam-0900')).toBe(2);
  });

  it('stays closed without entropy, and tries again', async () => {
    const random = {
      bytes: () => {
        throw new EntropyMissing('not seeded');
      },
    };
    expect(await run({ random })).toMatchObject({
      rest: 'blocked',
      trouble: { provider: 'password:root', code: 'entropy-missing' },
    });
    expect(await run()).toMatchObject({ rest: 'open' });
  });

  it('stays closed without any provider', async () => {
    expect(await run({ providers: [] })).toMatchObject({ rest: 'blocked', trouble: { code: 'providers-missing' } });
  });

  it('stays closed with two providers of one name, of which one would pass for the other', async () => {
    const twice = [provider('ssh'), provider('ssh')];
    expect(await run({ providers: twice })).toMatchObject({
      rest: 'blocked',
      trouble: { code: 'providers-ambiguous' },
    });
  });

  it('keeps what two providers stage under one name apart', async () => {
    const applied: string[] = [];
    const staging = (name: string) =>
      provider(name, {
        stage: async (folder) => folder.write('key', text(name)).then(() => []),
        apply: async (folder) => void applied.push(new TextDecoder().decode(await folder.read('key', 100))),
      });
    expect(await run({ providers: [staging('one:a'), staging('two')] })).toMatchObject({ rest: 'open' });
    expect(applied).toEqual(['one:a', 'two']);
  });

  it('names the provider that fails, does not ask the ones behind it, and goes on with it', async () => {
    const calls: string[] = [];
    const noting = (name: string, fails = false) =>
      provider(name, {
        apply: async () => {
          calls.push(name);
          if (fails) throw new Error('no such consumer');
        },
      });
    const broken = [noting('one'), noting('two', true), noting('three')];
    expect(await run({ providers: broken })).toMatchObject({
      rest: 'blocked',
      record: { state: 'blocked', resume: 'applied', applied: ['one'] },
      trouble: { provider: 'two', detail: 'no such consumer' },
    });
    expect(await run({ providers: [noting('one'), noting('two'), noting('three')] })).toMatchObject({ rest: 'open' });
    expect(calls).toEqual(['one', 'two', 'two', 'three']);
  });

  it('does not open when an old secret is still taken', async () => {
    const lax = provider('lax', { verifyOldRefused: async () => ({ ok: false, code: 'old-accepted', detail: 'pi' }) });
    expect(await run({ providers: [lax] })).toMatchObject({
      rest: 'blocked',
      trouble: { provider: 'lax', code: 'old-accepted' },
    });
  });

  it('begins an epoch above every number that the folder shows when its record is lost or damaged', async () => {
    await run();
    await disk.place(`${DIRECTORY}/escrow-7`, text('of an epoch that nobody remembers'));
    for (const copy of [0, 1]) disk.rot(`${DIRECTORY}/record.${copy}`, text('damaged'));
    expect(await run()).toMatchObject({ rest: 'open', record: { epoch: 8 } });
    for (const copy of [0, 1]) await disk.remove(`${DIRECTORY}/record.${copy}`);
    expect(await run()).toMatchObject({ rest: 'open', record: { epoch: 9 } });
  });

  it('begins a new epoch for a provider that the image brings, and not when one is left out', async () => {
    const [one, two] = [provider('one'), provider('two')];
    expect(await run({ providers: [one] })).toMatchObject({ record: { epoch: 1 } });
    expect(await run({ providers: [one, two] })).toMatchObject({ rest: 'open', record: { epoch: 2 } });
    expect(await run({ providers: [two] })).toMatchObject({ rest: 'open', record: { epoch: 2 } });
  });

  it("renews once in a boot what an image brings, and then says which credential is still the factory's", async () => {
    let accounts: 'own' | 'factory' = 'own';
    let covers = true;
    const passwords = provider('passwords', {
      inspect: async () => [
        { name: 'password:guest', kind: 'password', state: accounts, epoch: 0, fingerprint: null, madeUnixMs: null },
      ],
      apply: async () => {
        if (covers) accounts = 'own';
      },
    });
    await run({ providers: [passwords] });
    accounts = 'factory';
    expect(await run({ providers: [passwords] })).toMatchObject({ rest: 'open', record: { epoch: 2 } });
    accounts = 'factory';
    covers = false;
    const blocked = {
      rest: 'blocked',
      trouble: { provider: 'passwords', code: 'still-factory' },
      record: { epoch: 3 },
    };
    const running = start({ providers: [passwords] });
    expect(await running.run()).toMatchObject(blocked);
    expect(await running.run()).toMatchObject(blocked);
  });

  it('makes all anew when what a provider keeps is damaged, once in a boot', async () => {
    let isDamaged = false;
    let heals = true;
    const keeping = provider('keeping', {
      reconcile: async () => {
        const facts = {
          code: 'credential-record-damaged',
          what: 'it is damaged',
          cure: 'None.',
          exitStatus: 7,
        } as const;
        if (isDamaged) throw new Fault(facts);
      },
      apply: async () => {
        if (heals) isDamaged = false;
      },
    });
    await run({ providers: [keeping] });
    isDamaged = true;
    expect(await run({ providers: [keeping] })).toMatchObject({ rest: 'open', record: { epoch: 2 } });
    isDamaged = true;
    heals = false;
    const blocked = { rest: 'blocked', trouble: { provider: 'keeping', code: 'credential-record-damaged' } };
    expect(await run({ providers: [keeping] })).toMatchObject({ ...blocked, record: { epoch: 3 } });
  });

  it('does not apply what is not what was sealed any more, but makes all new', async () => {
    const broken = provider('broken', { apply: async () => Promise.reject(new Error('not now')) });
    const good = provider('broken', { stage: async (staging) => staging.write('file', text('x')).then(() => []) });
    expect(await run({ providers: [{ ...broken, stage: good.stage }] })).toMatchObject({
      rest: 'blocked',
      record: { resume: 'escrowed' },
    });
    disk.rot(`${DIRECTORY}/epoch-1/broken.file`, text('y'));
    expect(await run({ providers: [good] })).toMatchObject({ rest: 'open', record: { epoch: 2 } });
  });

  it('reboots once for what took up the former, and checks again', async () => {
    let fits = false;
    const machineId = provider('machine-id', {
      verifyNew: async () => (fits ? { ok: true } : { ok: false, code: 'reboot-needed', detail: 'read by PID 1' }),
    });
    expect(await run({ providers: [machineId] })).toMatchObject({ rest: 'reboot' });
    expect(await run({ providers: [machineId] })).toMatchObject({
      rest: 'blocked',
      trouble: { code: 'reboot-needed' },
    });
    fits = true;
    expect(await run({ providers: [machineId] })).toMatchObject({ rest: 'open', record: { epoch: 1 } });
  });

  it('takes a request up once, also one that cannot be removed', async () => {
    await run();
    await disk.place(RESET_REQUEST, text('please'));
    const remove = disk.remove.bind(disk);
    disk.remove = async (path) => {
      if (path === RESET_REQUEST) throw Object.assign(new Error('read-only'), { code: 'EROFS' });
      await remove(path);
    };
    expect(await run()).toMatchObject({ rest: 'open', record: { epoch: 2 } });
    expect(await run()).toMatchObject({ rest: 'open', record: { epoch: 2 } });
    disk.remove = remove;
    expect(await run()).toMatchObject({ rest: 'open', record: { epoch: 2, answered: [] } });
    await disk.place(RESET_REQUEST, text('please'));
    expect(await run()).toMatchObject({ rest: 'open', record: { epoch: 3 } });
  });

  it('does not forget a reset that failed when new secrets are asked for in between', async () => {
    await run();
    await disk.place(RESET_REQUEST, text(''));
    const failing = { wipeApplicationData: () => Promise.reject(new Error('not now')) };
    expect(await run(failing)).toMatchObject({ rest: 'blocked' });
    expect(disk.contentOf(`${APPLICATION}/notes`)).toBeDefined();
    await disk.place(`${DIRECTORY}/request`, text('rotate'));
    expect(await run()).toMatchObject({ rest: 'open' });
    expect(disk.contentOf(`${APPLICATION}/notes`)).toBeUndefined();
  });

  it('ignores a request that says nothing it knows', async () => {
    await run();
    await disk.place(`${DIRECTORY}/request`, text('open everything'));
    expect(await run()).toMatchObject({ rest: 'open', record: { epoch: 1 } });
  });

  it("makes everything new on another board, tells where it came from, and keeps the application's data", async () => {
    await run();
    const moved = await run({}, { ...BOOT, board: 2 });
    expect(moved).toMatchObject({
      rest: 'open',
      record: { epoch: 2, movedFrom: expect.stringMatching(/^[0-9a-f]{64}$/) },
    });
    expect(disk.contentOf(`${APPLICATION}/notes`)).toBeDefined();
    expect(await run({}, { ...BOOT, board: 2 })).toMatchObject({ record: { epoch: 2 } });
  });

  it('verifies again when another image boots, and not for the same one', async () => {
    let asked = 0;
    const counting = provider('counting', {
      verifyNew: async () => {
        asked += 1;
        return { ok: true };
      },
    });
    for (const slot of ['a', 'a', 'b', 'b', 'a'] as const) await run({ providers: [counting] }, { ...BOOT, slot });
    expect(asked).toBe(3);
  });
});

describe('on a real disk', () => {
  it('keeps folders 0700 and files 0600, and no secret in its record', async () => {
    const data = await mkdtemp(join(tmpdir(), 'first-boot-'));
    try {
      const secret = 'correct horse battery staple';
      const holding = provider('holding', {
        stage: async (staging) => {
          await staging.write('key', text('staged'));
          return [{ name: 'password:root', text: secret }];
        },
        apply: async () => Promise.reject(new Error('not now')),
      });
      const sealed: Escrow = { seal: async () => ({ ok: true, blob: text('sealed'), owners: ['a'.repeat(64)] }) };
      const { ports, settings } = start({ disk: nodeDisk, providers: [holding], escrow: sealed });
      const directory = join(data, 'first-boot');
      const run = () =>
        new FirstBoot(ports, {
          ...settings,
          directory,
          requests: { own: join(directory, 'request'), reset: null },
        }).run();
      expect(await run()).toMatchObject({ rest: 'blocked', record: { resume: 'escrowed' } });
      const modes = async (path: string) => ((await stat(join(directory, path))).mode & 0o777).toString(8);
      expect(await readdir(directory)).toEqual(['epoch-1', 'escrow-1', 'record.0', 'record.1']);
      for (const folder of ['.', 'epoch-1']) expect(await modes(folder), folder).toBe('700');
      for (const file of ['epoch-1/holding.key', 'escrow-1', 'record.0', 'record.1'])
        expect(await modes(file), file).toBe('600');
      for (const file of ['record.0', 'record.1'])
        expect(await readFile(join(directory, file), 'latin1')).not.toContain(secret);
    } finally {
      await rm(data, { recursive: true });
    }
  });
});
