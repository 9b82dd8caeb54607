/** Consoles: gettys that log in by themselves, shells without a login, the debug shell, emergency shells that are forced open. */
import type { Report } from '../findings.ts';
import type { TreeView } from '../tree.ts';
import { programOf, Units } from '../units.ts';

const GETTY = /^(auto|console-|container-|serial-)?(getty|vt)(@|\.service)/;
const LOGIN_PROGRAM = /\/(agetty|getty|mingetty|fgetty|login)\b/;
const AUTOLOGIN = /(--autologin|\s-a)[\s=]+\S+|--skip-login|\slogin\s+.*-f\s+\S+|-l\s+\S*\/(ba|da|a)?sh\b/;
const SHELL = /^-?(\/usr)?\/bin\/(ba|da|a)?sh$/;

export function checkConsoles(view: TreeView, report: Report): void {
  const units = new Units(view);
  checkGettys(units, report);
  checkInittab(view, report);
  checkShells(units, report);
  checkDebugShell(units, report);
  checkSulogin(units, report);
  checkDesktops(view, report);
}

function checkGettys(units: Units, report: Report): void {
  const seen = new Set<string>();
  // A drop-in of an instance (getty@tty1.service.d) has no unit file of its own.
  for (const name of new Set([...units.names(), ...units.instancesWithDropIns()])) {
    for (const { value, path, line } of units.list(name, 'ExecStart')) {
      const place = `${path}:${line}`;
      if (seen.has(place) || !AUTOLOGIN.test(value)) continue;
      if (!GETTY.test(name) && !LOGIN_PROGRAM.test(value)) continue;
      seen.add(place);
      report('console-autologin', path, `${name} logs in by itself`, line);
    }
  }
}

/** `id:levels:action:process` of sysvinit and busybox. */
function checkInittab(view: TreeView, report: Report): void {
  for (const [index, text] of view.lines('etc/inittab').entries()) {
    if (/^\s*#/.test(text)) continue;
    const [, , action = '', ...rest] = text.split(':');
    const process = rest.join(':').trim();
    const [program = ''] = process.split(/\s+/);
    if (!['respawn', 'askfirst', 'once', 'wait', 'sysinit', 'ondemand'].includes(action)) continue;
    if (SHELL.test(program) && process.split(/\s+/).length === 1) {
      report('console-shell', 'etc/inittab', 'a shell is started without a login', index + 1);
    } else if (/getty|login/.test(program) && (AUTOLOGIN.test(process) || /\s-n\b.*\s-l\s/.test(process))) {
      report('console-autologin', 'etc/inittab', 'a getty logs in by itself', index + 1);
    }
  }
}

/** A maker's own unit that puts a shell on a terminal. */
function checkShells(units: Units, report: Report): void {
  for (const name of units.enabled().keys()) {
    if (name === 'debug-shell.service' || !/^tty/.test(units.last(name, 'StandardInput')?.value ?? '')) continue;
    for (const { value, path, line } of units.list(name, 'ExecStart')) {
      const [, ...args] = value.split(/\s+/);
      const isBare = args.every((argument) => argument.startsWith('-') && !argument.includes('c'));
      if (SHELL.test(programOf(value)) && isBare)
        report('console-shell', path, `${name} puts a shell on a terminal`, line);
    }
  }
}

function checkDebugShell(units: Units, report: Report): void {
  const enabled = units.enabled().get('debug-shell.service');
  if (enabled !== undefined) report('debug-shell', enabled.by, 'debug-shell.service is enabled');
}

function checkSulogin(units: Units, report: Report): void {
  for (const name of [
    'emergency.service',
    'rescue.service',
    ...units.names().filter((one) => /^(console|sulogin)/.test(one)),
  ]) {
    // It is taken away last, whoever set it.
    if (units.list(name, 'UnsetEnvironment').some(({ value }) => value.includes('SYSTEMD_SULOGIN_FORCE'))) continue;
    for (const { key, value, path, line } of units.settings(name)) {
      const forced = key === 'Environment' && /SYSTEMD_SULOGIN_FORCE=["']?(1|yes|true|on|y|t)\b/i.test(value);
      if (forced || (key === 'ExecStart' && /sulogin\b.*\s(-e|--force)\b/.test(value))) {
        report('sulogin-forced', path, `${name} opens its shell without a password`, line);
      }
    }
  }
  for (const path of ['etc/systemd/system.conf', ...units.systemConfigurations()]) {
    for (const { key, value, line } of units.parse(path)) {
      if (/Environment$/.test(key) && /SYSTEMD_SULOGIN_FORCE=["']?(1|yes|true|on|y|t)\b/i.test(value)) {
        report('sulogin-forced', path, 'every unit gets SYSTEMD_SULOGIN_FORCE', line);
      }
    }
  }
}

const DESKTOPS: readonly (readonly [folder: string, file: RegExp, line: RegExp])[] = [
  ['etc/lightdm', /^lightdm\.conf$/, /^\s*autologin-user\s*=\s*\S/],
  ['etc/lightdm/lightdm.conf.d', /\.conf$/, /^\s*autologin-user\s*=\s*\S/],
  ['etc/gdm3', /^(daemon|custom)\.conf$/, /^\s*AutomaticLoginEnable\s*=\s*(true|1)/i],
  ['etc/gdm', /^custom\.conf$/, /^\s*AutomaticLoginEnable\s*=\s*(true|1)/i],
  ['etc', /^sddm\.conf$/, /^\s*User\s*=\s*\S/],
  ['etc/sddm.conf.d', /\.conf$/, /^\s*User\s*=\s*\S/],
];

function checkDesktops(view: TreeView, report: Report): void {
  for (const [folder, file, pattern] of DESKTOPS) {
    for (const name of view.names(folder).filter((one) => file.test(one))) {
      const path = `${folder}/${name}`;
      const index = view.lines(path).findIndex((line) => pattern.test(line));
      if (index >= 0) report('desktop-autologin', path, 'the login manager logs in by itself', index + 1);
    }
  }
}
