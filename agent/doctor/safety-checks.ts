/** What a trial is judged by and guarded with: systemd and its units, hooks, the watchdog, what is known of the link. */
import { existsSync } from 'node:fs';
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
  const own = trial.watchdogDevice !== null;
  const timeout = `${path}, ${(facts?.timeoutMs ?? 0) / 1000} s`;
  if (facts?.active === true) return ok('watchdog', `${timeout}, armed`);
  if (own && facts?.nowayout === false) return ok('watchdog', `${timeout}, armed in trials`);
  if (own && facts !== undefined)
    return missing('watchdog', `${path} cannot be disarmed`, 'Take trial.watchdogDevice out; let systemd feed it.');
  return (own ? missing : advice)(
    'watchdog',
    `nobody arms ${path}: a trial that hangs stays until somebody cuts the power`,
    'Enable it in the kernel and RuntimeWatchdogSec= in systemd; on a Raspberry Pi kernel_watchdog_timeout too.',
  );
}

async function checkUnits({ health }: AgentConfig): Promise<DoctorRow[]> {
  const { systemd, units } = health.builtin;
  if (!systemd) return [];
  if ((await systemState()) === undefined) {
    const says = 'does not run this machine: units are not looked at';
    if (units.length === 0) return [ok('systemd', says)];
    return [missing('systemd', says, 'Take health.builtin.units out, or run systemd.')];
  }
  const failed = ((await failedUnits()) ?? []).join(', ');
  const states = await unitStates(units);
  const down = units.filter((_, index) => states[index] !== 'active');
  return [
    failed === ''
      ? ok('systemd', 'no unit failed')
      : advice('systemd', `failed: ${failed}`, 'Cure them; a trial is not judged by these.'),
    ...down.map((unit) => missing('units', `${unit} is not active`, 'Start it, or correct health.builtin.units.')),
  ];
}

async function checkHooks({ hooks }: AgentConfig): Promise<DoctorRow[]> {
  const { beforeReboot, inUse } = hooks;
  const noFolder = beforeReboot !== null && !existsSync(beforeReboot);
  const noProgram = inUse.program !== null && !(await isExecutableFile(inUse.program));
  return [
    ...(noFolder ? [missing('before-reboot', `there is no ${beforeReboot}`, 'Make it, or correct hooks.')] : []),
    ...(noProgram ? [missing('in-use', `${inUse.program} cannot be run`, 'Make it, or correct hooks.')] : []),
  ];
}

async function checkLink({ network }: AgentConfig): Promise<DoctorRow> {
  const { metered, budget } = network;
  const asked = metered === 'auto' ? await askMetered() : metered === 'always';
  if (asked !== true) return ok('link', asked === false ? 'not metered' : 'not known to be metered');
  return ok('link', `metered: ${budget === null ? 'images wait' : `${budget.bytes} bytes a ${budget.per} for images`}`);
}
