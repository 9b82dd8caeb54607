/**
 * The fault matrix's rows: what is broken, how the program of the first boot ends, and what must be seen. Every fault is
 * of one thing; rows that break two say so, and are there to show that a look would notice.
 */
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Container } from './container.ts';
import { dropIn, type FirstBootEnd, mask, setFirstBootEnd, setRootPassword } from './device-files.ts';
import { configureAsGuided, followGuide } from './guide.ts';
import { FACTORY_LOGIN, logIn, plantFactoryLogin } from './logins.ts';
import type { Expected, Seen } from './looks.ts';
import { opensByItself, seeOwnSecrets } from './own-first-boot.ts';

export interface FaultRow {
  readonly name: string;
  readonly firstBoot: FirstBootEnd;
  /** Without the gates: the same device as anybody would ship it. */
  readonly bare?: true;
  /** Before power on, in the root. */
  readonly plant?: (root: string) => Promise<unknown>;
  /** Once it has booted. */
  readonly act?: (container: Container) => Promise<unknown>;
  /** Again and again, while the stranger tries. */
  readonly meanwhile?: (container: Container) => Promise<unknown>;
  /** Once the boot has come to its end; answers what is not as it must be. */
  readonly alsoSeen?: (container: Container) => Promise<readonly string[]>;
  readonly expected: Expected;
  /** Whether any door may answer, a refusal as well. */
  readonly answers: boolean;
  /** Whether the device reaches its server. */
  readonly wayOut: boolean;
  /** Part of the gate's sample. */
  readonly sample: boolean;
}

const QUIET = 'holdfast-quiet.service';
const GUARD = 'holdfast-quiet-guard.service';
const FIRST_BOOT = 'holdfast-firstboot.service';
const OPEN = 'holdfast-open.service';
const LATE_LIMIT_MS = 90_000;

const logins = (seen: Seen) => ({ sshd: seen, 'ssh.socket': seen, getty: seen, emergency: seen }) as const;
/** Nobody gets in, and the device's own way out stands. */
const BLOCKED = {
  expected: { ...logins('closed'), links: 'open', listener: 'unreachable' },
  answers: false,
  wayOut: true,
} as const;
/** No link at all. */
const CUT_OFF = {
  expected: { ...logins('closed'), links: 'closed', listener: 'unreachable' },
  answers: false,
  wayOut: false,
} as const;
const EVERYTHING_OPEN = {
  expected: { ...logins('open'), links: 'open', listener: 'open' },
  answers: true,
  wayOut: true,
} as const;

const conditionFalse = (unit: string) => (root: string) => dropIn(root, unit, '[Unit]\nConditionPathExists=/nowhere\n');
const slowStart = (unit: string) => (root: string) => dropIn(root, unit, '[Service]\nExecStartPre=/bin/sleep 600\n');
const kill = (unit: string) => async (container: Container) => {
  if (!(await container.becomes(unit, ['activating'], LATE_LIMIT_MS))) throw new Error(`${unit} does not start`);
  await container.run('systemctl', 'kill', '--signal=KILL', unit);
};
async function bootEnds(container: Container): Promise<void> {
  if (!(await container.becomes('multi-user.target', ['active'], LATE_LIMIT_MS))) throw new Error('no boot ends');
}
const flush = (container: Container) => container.run('nft', 'flush', 'ruleset');
const withoutNft = (root: string) => rename(join(root, 'usr/sbin/nft'), join(root, 'usr/sbin/nft.gone'));

const row = (name: string, firstBoot: FirstBootEnd, more: Partial<FaultRow>): FaultRow => ({
  name,
  firstBoot,
  ...BLOCKED,
  sample: false,
  ...more,
});

export const FAULTS: readonly FaultRow[] = [
  row('the same device without Holdfast', '4', {
    ...EVERYTHING_OPEN,
    bare: true,
    plant: plantFactoryLogin,
    alsoSeen: async (container) => logIn(container, FACTORY_LOGIN, 'accepted'),
    sample: true,
  }),
  row('no fault, OPEN', '0', { ...EVERYTHING_OPEN, sample: true }),
  row('no fault, OPEN, root locked', '0', {
    ...EVERYTHING_OPEN,
    plant: (root) => setRootPassword(root, '!*'),
    expected: { ...EVERYTHING_OPEN.expected, emergency: 'locked' },
  }),
  row('no fault, BLOCKED', '4', {}),
  // The first gate. The device is BLOCKED as well, so that no login may be there either.
  row('quiet fails: nftables is missing', '4', { ...CUT_OFF, plant: withoutNft, sample: true }),
  row('quiet masked', '4', { ...CUT_OFF, plant: (root) => mask(root, QUIET) }),
  row('quiet killed at its start', '4', { ...CUT_OFF, plant: slowStart(QUIET), act: kill(QUIET) }),
  row('quiet: condition false', '4', { ...CUT_OFF, plant: conditionFalse(QUIET) }),
  row('rules flushed again and again', '4', { meanwhile: flush, sample: true }),
  row('guard killed again and again', '4', {
    meanwhile: (container) => container.run('systemctl', 'kill', '--signal=KILL', GUARD),
  }),
  row('guard masked', '4', { plant: (root) => mask(root, GUARD) }),
  // Its own secrets stand, so that its console may open; there is no link by which to reach the rest.
  row('quiet fails, first boot does not', '0', {
    ...CUT_OFF,
    plant: withoutNft,
    expected: {
      ...CUT_OFF.expected,
      ...{ sshd: 'unreachable', 'ssh.socket': 'unreachable', getty: 'open', emergency: 'open' },
    },
  }),
  // The second gate.
  row('firstboot fails', '1', {}),
  row('firstboot masked', '0', { plant: (root) => mask(root, FIRST_BOOT) }),
  row('firstboot killed', 'hang', { act: kill(FIRST_BOOT) }),
  row('firstboot: condition false', '0', { plant: conditionFalse(FIRST_BOOT), sample: true }),
  row('open fails', '0', { plant: (root) => dropIn(root, OPEN, '[Service]\nExecStartPre=/bin/false\n') }),
  row('open masked', '0', { plant: (root) => mask(root, OPEN) }),
  row('open killed at its start', '0', { plant: slowStart(OPEN), act: kill(OPEN) }),
  row('open: condition false', '0', { plant: conditionFalse(OPEN) }),
  // The package itself, its agent included, which has no configuration here and so nothing to open with.
  row('docs/FIRST_BOOT_GATES.md, word for word', '4', { bare: true, plant: followGuide }),
  // And with one: its own first boot, and no stand-in.
  row('docs/FIRST_BOOT_GATES.md, word for word, and agent.json', '4', {
    ...EVERYTHING_OPEN,
    bare: true,
    plant: async (root) => {
      await plantFactoryLogin(root);
      await followGuide(root);
      await configureAsGuided(root);
    },
    act: opensByItself,
    alsoSeen: seeOwnSecrets,
  }),
  // Time goes on.
  row('BLOCKED at boot, OPEN at a later try', '4', {
    ...EVERYTHING_OPEN,
    plant: (root) => dropIn(root, 'holdfast-firstboot.timer', '[Timer]\nOnUnitInactiveSec=\nOnUnitInactiveSec=2\n'),
    act: async (container) => {
      await setFirstBootEnd(container.root, '0');
      if (!(await container.becomes(OPEN, ['active'], LATE_LIMIT_MS))) throw new Error('no later try succeeds');
      await container.becomes('ssh.service', ['active'], LATE_LIMIT_MS);
    },
    sample: true,
  }),
  row('OPEN, then first boot is stopped', '0', {
    act: async (container) => {
      // Not in the middle of a boot: whatever is still to start then asks for the first boot again.
      await bootEnds(container);
      await container.run('systemctl', 'stop', FIRST_BOOT);
    },
    // Whoever asks for the shell asks for the first boot with it, and that succeeds again.
    expected: { ...BLOCKED.expected, emergency: 'open' },
  }),
  row('two faults: rules flushed, guard masked', '4', {
    plant: (root) => mask(root, GUARD),
    act: async (container) => {
      await bootEnds(container);
      await flush(container);
    },
    expected: { ...BLOCKED.expected, listener: 'open' },
    answers: true,
  }),
];
