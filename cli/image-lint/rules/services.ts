/** Services that let others in without encryption or without a login, and are on: by systemd, inetd, xinetd or sysv. */
import type { Report } from '../findings.ts';
import type { TreeView } from '../tree.ts';
import { programOf, Units } from '../units.ts';

/** Programs, as they are called in packages and as applets of busybox. */
const PROGRAMS =
  /^(in\.|u|inetutils-)?(telnetd|rshd|rlogind|rexecd|ftpd|tftpd)(-hpa|-ssl)?$|^(utelnetd|telnetd-ssl|vsftpd|proftpd|pure-ftpd(-wrapper)?|bftpd|atftpd|adbd|tcpsvd|opentftpd|uftpd)$/;
const UNITS =
  /^(telnet|telnetd|inetutils-telnetd|in\.telnetd|rsh|rshd|rlogin|rlogind|rexec|rexecd|vsftpd|proftpd|pure-ftpd|ftpd|bftpd|uftpd|tftp|tftpd|tftpd-hpa|atftpd|adbd|android-tools-adbd|usb-debugging)(@.*)?\.(service|socket)$/;
const INETD_NAMES = new Set([
  'telnet',
  'telnets',
  'shell',
  'login',
  'exec',
  'ftp',
  'tftp',
  '23',
  '69',
  '21',
  '512',
  '513',
  '514',
]);
const SYSV = /^S\d\d(.*)$/;
const SYSV_FOLDERS = /^rc(S|[2345])\.d$/;

export function checkServices(view: TreeView, report: Report): void {
  const units = new Units(view);
  const enabled = units.enabled();
  checkUnits(units, report);
  const runs = (name: string): boolean =>
    enabled.has(`${name}.service`) ||
    isSysvOn(view, name) ||
    (units.path(`${name}.service`) === undefined && hasScript(view, name));
  if (['inetd', 'openbsd-inetd', 'inetutils-inetd', 'rlinetd'].some(runs) || hasBusyboxInetd(view))
    checkInetd(view, report);
  if (runs('xinetd')) checkXinetd(view, report);
  checkSysv(view, report);
  checkScripts(view, report);
}

function checkUnits(units: Units, report: Report): void {
  for (const [name, { by }] of units.enabled()) {
    if (UNITS.test(name) && units.path(name) !== undefined) {
      report('service-unsafe', by, `${name} is enabled`);
      continue;
    }
    for (const { value } of units.list(name, 'ExecStart')) {
      const program = programIn(value);
      if (program !== undefined) report('service-unsafe', by, `${name} is enabled and starts ${program}`);
    }
  }
}

/** The unsafe program of a command line, also as an applet: `busybox telnetd`. */
function programIn(command: string): string | undefined {
  const [, first = '', second = ''] = /^(\S+)(?:\s+(\S+))?/.exec(command.replace(/^[@:+!-]+/, '')) ?? [];
  const name = programOf(first).split('/').at(-1) ?? '';
  if (name === 'busybox') return PROGRAMS.test(second) ? second : undefined;
  return PROGRAMS.test(name) ? name : undefined;
}

function hasScript(view: TreeView, name: string): boolean {
  return view.resolve(`etc/init.d/${name}`)?.kind === 'file' && isSysvOn(view, name);
}

function isSysvOn(view: TreeView, name: string): boolean {
  return sysvLinks(view).some((link) => link.name === name);
}

/** Start links of runlevels, and of buildroot's init.d; none of them where a unit of the name takes its place. */
function sysvLinks(view: TreeView): { path: string; name: string }[] {
  const folders = view
    .names('etc')
    .filter((name) => SYSV_FOLDERS.test(name))
    .map((name) => `etc/${name}`);
  return [...folders, 'etc/init.d', 'etc/rc.d'].flatMap((folder) =>
    view.names(folder).flatMap((file) => {
      const name = SYSV.exec(file)?.[1];
      return name === undefined ? [] : [{ path: `${folder}/${file}`, name }];
    }),
  );
}

function checkSysv(view: TreeView, report: Report): void {
  const units = new Units(view);
  for (const { path, name } of sysvLinks(view)) {
    if (units.path(`${name}.service`) !== undefined) continue;
    if (PROGRAMS.test(name) || UNITS.test(`${name}.service`))
      report('service-unsafe', path, `${name} is started at boot`);
  }
}

function hasBusyboxInetd(view: TreeView): boolean {
  return [...view.lines('etc/inittab'), ...view.lines('etc/rc.local'), ...view.lines('etc/init.d/rcS')].some(
    (line) => !/^\s*#/.test(line) && /(^|[\s/:])inetd\b/.test(line),
  );
}

function checkInetd(view: TreeView, report: Report): void {
  const files = ['etc/inetd.conf', ...view.names('etc/inetd.d').map((name) => `etc/inetd.d/${name}`)];
  for (const path of files) {
    for (const [index, line] of view.lines(path).entries()) {
      if (/^\s*#/.test(line)) continue;
      const [service = '', , , , , program = '', ...rest] = line.trim().split(/\s+/);
      const name = service.split(':').at(-1) ?? '';
      if (program !== '' && (INETD_NAMES.has(name) || programIn([program, ...rest].join(' ')) !== undefined)) {
        report('service-unsafe', path, `inetd offers ${name}`, index + 1);
      }
    }
  }
}

/** `service telnet { … disable = no }`; without a `disable` it is on. */
function checkXinetd(view: TreeView, report: Report): void {
  const files = ['etc/xinetd.conf', ...view.names('etc/xinetd.d').map((name) => `etc/xinetd.d/${name}`)];
  for (const path of files) {
    let service = '';
    let at = 0;
    let disabled = false;
    for (const [index, text] of view.lines(path).entries()) {
      const line = text.trim();
      const [, name] = /^service\s+(\S+)/.exec(line) ?? [];
      if (name !== undefined) [service, at, disabled] = [name, index + 1, false];
      if (/^disable\s*=\s*yes/.test(line)) disabled = true;
      if (line !== '}') continue;
      if (!disabled && (INETD_NAMES.has(service) || UNITS.test(`${service}.service`))) {
        report('service-unsafe', path, `xinetd offers ${service}`, at);
      }
      service = '';
    }
  }
}

/** Scripts that start something by hand: rc.local, rcS, inittab and buildroot's numbered scripts. */
function checkScripts(view: TreeView, report: Report): void {
  const numbered = view
    .names('etc/init.d')
    .filter((name) => SYSV.test(name))
    .map((name) => `etc/init.d/${name}`);
  for (const path of ['etc/rc.local', 'etc/rc.d/rc.local', 'etc/init.d/rcS', 'etc/inittab', ...numbered]) {
    for (const [index, text] of view.lines(path).entries()) {
      const line = text.trim();
      if (line === '' || line.startsWith('#')) continue;
      const command = path === 'etc/inittab' ? (line.split(':').slice(3).join(':') ?? '') : line;
      const found = command
        .split(/[;&|]+/)
        .map((part) =>
          programIn(part.trim().replace(/^(exec|nohup|start-stop-daemon\s.*?(--exec|-x)|if|then|do)\s+/, '')),
        )
        .find((program) => program !== undefined);
      if (found !== undefined) report('service-unsafe', path, `it starts ${found}`, index + 1);
    }
  }
}
