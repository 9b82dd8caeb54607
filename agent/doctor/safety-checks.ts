/** What a trial is judged by and guarded with: systemd and its units, hooks, the watchdog, what is known of the link. */
import { access } from 'node:fs/promises';
import type { AgentConfig } from '../config.ts';
import { isExecutableFile } from '../health/executable-folder.ts';
import { failedUnits, systemState, unitStates } from '../health/systemd.ts';
import { askMetered } from '../transport/metered.ts';
import { watchdogFacts } from '../watchdog/hardware-watchdog.ts';
import { advice, type DoctorRow, missing, ok } from './finding.ts';

export async function checkSafety(config: AgentConfig, watchdog: string, sysDirectory?: string): Promise<DoctorRow[]> {
  return [
    await checkWatchdog(config, watchdog, sysDirectory),
    ...(await checkUnits(config)),
    ...(await checkHooks(config)),
    await checkLink(config),
  ];
}

async function checkWatchdog({ trial }: AgentConfig, watchdog: string, sysDirectory?: string): Promise<DoctorRow> {
  const path = trial.watchdogDevice ?? watchdog;
  const facts = await watchdogFacts(path, sysDirectory);
  const there = facts !== undefined || (await access(path).then(...either));
  const without = 'a trial that hangs stays until somebody cuts the power';
  const enable =
    'Enable it in the kernel and RuntimeWatchdogSec= in systemd; on a Raspberry Pi kernel_watchdog_timeout too.';
  if (!there) return (trial.watchdogDevice === null ? advice : missing)('watchdog', `no ${path}: ${without}`, enable);
  if (facts?.active === true) return ok('watchdog', `${path} is armed, ${facts.timeoutMs / 1000} s`);
  if (trial.watchdogDevice === null) return advice('watchdog', `nobody arms ${path}: ${without}`, enable);
  if (facts?.nowayout === false) return ok('watchdog', `${path}, ${facts.timeoutMs / 1000} s, armed in trials`);
  return missing(
    'watchdog',
    `${path} cannot be disarmed (nowayout)`,
    'Take trial.watchdogDevice out; let systemd feed it.',
  );
}

const either = [() => true, () => false] as const;

async function checkUnits({ health }: AgentConfig): Promise<DoctorRow[]> {
  const { systemd, units } = health.builtin;
  if (!systemd) return [];
  const state = await systemState();
  if (state === undefined) {
    const says = 'does not run this machine, or systemctl is missing';
    if (units.length === 0) return [ok('systemd', `${says}: units are not looked at`)];
    return [missing('systemd', says, 'Take health.builtin.units out, or run systemd in the image.')];
  }
  const failed = (await failedUnits()) ?? [];
  const states = await unitStates(units);
  const down = units.filter((_, index) => states[index] !== 'active');
  return [
    failed.length === 0
      ? ok('systemd', state)
      : advice('systemd', `failed: ${failed.join(', ')}`, 'A trial is not judged by these; cure them all the same.'),
    ...down.map((unit) =>
      missing('units', `${unit} is not active`, 'Start it, or take it out of health.builtin.units.'),
    ),
  ];
}

async function checkHooks({ hooks }: AgentConfig): Promise<DoctorRow[]> {
  const { program } = hooks.inUse;
  const rows: DoctorRow[] = [];
  if (program !== null && !(await isExecutableFile(program))) {
    rows.push(
      missing(
        'in-use',
        `${program} is no executable file: it counts as in use`,
        'Put it there, or correct hooks.inUse.',
      ),
    );
  }
  if (hooks.beforeReboot !== null && !(await access(hooks.beforeReboot).then(...either))) {
    rows.push(
      missing('before-reboot', `there is no ${hooks.beforeReboot}`, 'Make the folder, or correct hooks.beforeReboot.'),
    );
  }
  return rows;
}

async function checkLink({ network }: AgentConfig): Promise<DoctorRow> {
  const { metered, budget } = network;
  const asked = metered === 'auto' ? await askMetered() : metered === 'always';
  const allows = budget === null ? 'images wait' : `images have ${budget.bytes} bytes a ${budget.per}`;
  if (asked === true) return ok('link', `metered: ${allows}`);
  return ok('link', asked === false ? 'not metered' : 'nobody here knows whether it is metered: taken as not');
}
