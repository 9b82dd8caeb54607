/** Removals in health, hooks, waiting, watchdogs and metered links. */
import { inFile } from './removal.ts';

export const SAFETY = [
  ...inFile(
    'agent/health/systemd.ts',
    ['test/unit/agent/health/systemd.test.ts'],
    [
      {
        name: 'the comparison of failed units with the baseline',
        find: 'failed.filter((unit) => baseline?.failedUnits.includes(unit) === false);',
        replace: 'failed.slice(0, 0);',
      },
      {
        name: 'what had failed before the update does not count',
        find: 'failed.filter((unit) => baseline?.failedUnits.includes(unit) === false);',
        replace: 'failed;',
      },
      { name: 'the check of named units', find: "if (is === 'active') continue;", replace: 'continue;' },
      {
        name: 'the time that a starting unit gets',
        find: "fails: mayCome ? 'at-deadline' : 'at-once'",
        replace: "fails: 'at-once'",
      },
      {
        name: 'the time for which units must stay active',
        find: 'if (nowMs - goodSinceMs >= settings.settleMs) return undefined;',
        replace: 'return undefined;',
      },
    ],
  ),
  ...inFile(
    'agent/health/executable-folder.ts',
    ['test/unit/agent/application/hooks.test.ts', 'test/unit/agent/health/local-health.test.ts'],
    [
      {
        name: 'the failure of a file that is not executable',
        find: '(await isExecutableFile(path))\n',
        replace: 'path !== ""\n',
      },
    ],
  ),
  ...inFile(
    'agent/application/hooks.ts',
    ['test/unit/agent/application/hooks.test.ts'],
    [
      {
        name: 'an in-use program that cannot say counts as in use',
        find: 'return status === 1 ? undefined : detail;',
        replace: 'return status === 0 ? detail : undefined;',
      },
    ],
  ),
  ...inFile(
    'agent/effects/wait.ts',
    ['test/unit/agent/waiting.test.ts'],
    [
      { name: 'the limit of waiting for the application', find: 'if (leftMs > 0) return', replace: 'return' },
      {
        name: 'the record of the time waited',
        find: '  await record.write({ actionId, waitedMs: before + runMs });\n',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'agent/core/install-machine.ts',
    ['test/unit/agent/waiting.test.ts'],
    [
      {
        name: 'the wait before a trial is armed',
        find: "const ARM = ['await-use', 'note-server',",
        replace: "const ARM = ['note-server',",
      },
      {
        name: 'the baseline before a trial is armed',
        find: "'note-baseline', 'arm-trial', 'request-reboot'] as const",
        replace: "'arm-trial', 'request-reboot'] as const",
      },
    ],
  ),
  ...inFile(
    'agent/effects/trial.ts',
    ['test/unit/agent/waiting.test.ts'],
    [
      {
        name: 'the check that a baseline is of this update',
        find: ' || found.value.actionId !== x.state.journal.action?.actionId) return',
        replace: ') return',
      },
    ],
  ),
  ...inFile(
    'agent/transport/link-ration.ts',
    ['test/unit/agent/transport/link-ration.test.ts'],
    [
      { name: 'the budget', find: 'if (use.usedBytes + bytes > budget.bytes) {', replace: 'if (false) {' },
      {
        name: 'the wait on a metered link',
        find: "if (budget === null) throw new MustWait('link-metered', 'the link is metered', askEveryMs);",
        replace: 'if (budget === null) return () => {};',
      },
      {
        name: 'one claim after the other',
        find: 'const claim = this.#last.then(() => this.#claim(bytes));',
        replace: 'const claim = this.#claim(bytes);',
      },
      {
        name: 'the count on disk before the transfer',
        find: 'if (spent.usedBytes > this.#recorded) {',
        replace: 'if (false) {',
      },
    ],
  ),
  ...inFile(
    'agent/transport/rationed-requester.ts',
    ['test/unit/agent/transport/link-ration.test.ts'],
    [
      {
        name: 'the look at the link after a cut',
        find: '      if (arrived === undefined) this.#ration.forgetLink();\n',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'agent/transport/capped-body.ts',
    ['test/unit/agent/transport/https-source.test.ts'],
    [
      {
        name: 'the excuse for pauses of our own',
        find: '        rate.excuse(pauseMs);\n',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'agent/core/budget.ts',
    ['test/unit/agent/core/budget.test.ts'],
    [
      {
        name: 'no second budget for a clock that goes back',
        find: "use.period !== '' && present > use.period ? 0",
        replace: 'true ? 0',
      },
    ],
  ),
  ...inFile(
    'agent/watchdog/service-watchdog.ts',
    ['test/unit/agent/watchdog/watchdog.test.ts'],
    [
      {
        name: 'no feed while a strand hangs',
        find: 'if (stuck.length > 0) return',
        replace: 'if (stuck.length > 9) return',
      },
      {
        name: 'the process that the watchdog is for',
        find: 'return WATCHDOG_PID === undefined || WATCHDOG_PID === String(pid) ? intervalMs : undefined;',
        replace: 'return intervalMs;',
      },
    ],
  ),
  ...inFile(
    'agent/watchdog/hardware-watchdog.ts',
    ['test/unit/agent/watchdog/watchdog.test.ts'],
    [
      {
        name: 'no hardware watchdog that cannot be disarmed',
        find: 'if (facts?.nowayout !== false) return',
        replace: 'if (facts === undefined) return',
      },
      { name: 'the magic close', find: "    await this.#file.write('V');\n", replace: '' },
      {
        name: 'no feed of the hardware watchdog while a strand hangs',
        find: 'if (this.#stuck().length === 0) await',
        replace: 'await',
      },
    ],
  ),
  ...inFile(
    'update-server/core/offer.ts',
    ['test/unit/update-server/store/waiting.test.ts'],
    [
      {
        name: 'a device that waits gives its place up',
        find: "say(candidate, { kind: 'waits' });",
        replace: '',
      },
    ],
  ),
];
