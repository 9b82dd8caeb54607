/**
 * Passwords, host keys and authorized_keys against the real sshd of this machine, asked by the real ssh, in a mount
 * namespace: first boot, an update that brings the factory's back, a rotation, a reset. Both ways in which a device's
 * files take effect. Needs root and the packages openssh-server and openssh-client (scripts/setup.sh --images).
 */
import { existsSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { runInNamespace } from './run-in-namespace.ts';

/** A guard, no assertion. */
const MINUTES_15 = 900_000;
const missing = ['/usr/sbin/sshd', '/usr/bin/ssh', '/usr/bin/unshare', '/usr/bin/perl'].filter(
  (path) => !existsSync(path),
);
if (process.getuid?.() !== 0) missing.unshift('root');
if (missing.length > 0) console.warn(`SKIPPED, the real sshd was not asked: this machine lacks ${missing.join(', ')}`);

/** The gate takes a sample; docs/FIRST_BOOT.md names the command for all. */
const CUTS = Number(process.env.HOLDFAST_SSHD_CUTS ?? 5);

const runMachine = (way: string): Promise<{ [step: string]: unknown }> =>
  runInNamespace('real-machine.ts', [way, String(CUTS)], { deadlineMs: MINUTES_15 });

describe.skipIf(missing.length > 0).for(['in-place', 'bound'] as const)(
  'a first boot with the real sshd, files %s',
  (way) => {
    let said: { [step: string]: unknown };
    beforeAll(async () => {
      said = await runMachine(way);
    }, MINUTES_15);

    it('finds the factory: its passwords are accepted before, and everything of it is named', () => {
      expect(said.before).toEqual(['guest', 'pi', 'root']);
      expect(said.beforeWhileStarting, 'nologin hides nothing').toEqual(['guest', 'pi', 'root']);
      const keys = ['authorized-keys:pi', 'authorized-keys:root', 'ssh-host-key:ed25519', 'ssh-host-key:rsa'];
      expect(said.inspectedBefore).toEqual(
        expect.arrayContaining([...keys, 'password:guest', 'password:pi', 'password:root']),
      );
    });

    it('accepts afterwards the break-glass password alone, and every check, asked of sshd, says so', () => {
      expect(said.after).toEqual(['root']);
      expect(said.verifyNew).toEqual([{ ok: true }, { ok: true }, { ok: true }]);
      expect(said.verifyOld).toEqual([{ ok: true }, { ok: true }, expect.objectContaining({ ok: true })]);
      expect(said.inspected).toEqual([
        'authorized-keys:root owner 1',
        'password:root own 1',
        'ssh-host-key:ed25519 own 1',
      ]);
    });

    it('leaves no host key of the factory, and its own as sshd wants them', () => {
      expect(said.rsaLeft).toBe(false);
      expect(said.hostKeyModes).toEqual(['600', '644']);
    });

    it("puts the owner's keys in for root, and nobody's for others", () => {
      expect(said.rootKeys).toBe('owner');
      expect(said.piKeys).toBe('');
    });

    it.runIf(way === 'bound')('changes no byte of the slot', () => expect(said.slotUntouched).toBe(true));

    it("takes the factory's away again when a boot brings them back, once, however often it is asked", () => {
      expect(said.factoryBack).toEqual(expect.arrayContaining(['guest', 'pi', 'root']));
      expect(said.oldBeforeReconcile).toBe(true);
      expect(said.reconciled).toEqual(['root']);
      expect(said.hostKeysAfter).toEqual([{ ok: true }, { ok: true }]);
      expect(said.mountsOverShadow).toBe(way === 'bound' ? '1' : '0');
    });

    it.runIf(way === 'in-place')(
      'does not take hashes for an answer: a PAM that lets everybody in is found out',
      () => {
        expect(said.pamLetsAllIn).toMatchObject({ ok: false, code: 'factory-password-accepted' });
      },
    );

    it.runIf(way === 'in-place')(
      'asks again what a connection had no time for: a slow board opens later, and opens',
      () => {
        expect(said.slow).toEqual({ accepted: [] });
      },
    );

    it('refuses the former break-glass password after a rotation, and lets nobody in after a wipe', () => {
      expect(said.rotated).toEqual([[], ['root']]);
      expect(said.rotatedChecks).toEqual([true, true, true, true, true]);
      expect(said.wiped).toEqual([]);
    });

    it('shows what it rotated to a service that runs with a view of its own', () => {
      expect(said.sameInService).toBe(true);
    });

    it('takes the secrets of the next epoch in the boot that wiped those of the former', () => {
      expect(said.afterWipe).toEqual([{ ok: true }, { ok: true }, { ok: true }]);
    });
  },
);

describe.skipIf(missing.length > 0)('a first boot with the real sshd that is cut', () => {
  it(
    'ends with the break-glass password alone accepted, and this device’s host key, at cuts that a seed chose',
    async () => {
      const { changes, cuts } = (await runMachine('cuts')) as {
        changes: number;
        cuts: { after: number; said: unknown; checks: unknown }[];
      };
      expect(changes).toBeGreaterThan(50);
      expect(cuts).toHaveLength(CUTS);
      for (const { after, said, checks } of cuts) {
        expect({ said, checks }, `cut after change ${after} of ${changes}`).toEqual({
          said: ['root'],
          checks: [true, true, true],
        });
      }
    },
    MINUTES_15,
  );
});
