/** What root runs or obeys, and who else can change it: units, scripts, schedules, rules, and the programs that they name. */
import type { Report } from '../findings.ts';
import type { ImageEntry, TreeView } from '../tree.ts';
import { programOf, Units } from '../units.ts';

/** All files in these folders, and below them. */
const OBEYED_FOLDERS = [
  'etc/init.d',
  'etc/rc.d',
  'etc/cron.d',
  'etc/cron.hourly',
  'etc/cron.daily',
  'etc/cron.weekly',
  'etc/cron.monthly',
  'var/spool/cron',
  'etc/profile.d',
  'etc/sudoers.d',
  'etc/pam.d',
  'etc/udev/rules.d',
  'usr/lib/udev/rules.d',
  'etc/ld.so.conf.d',
  'etc/modprobe.d',
  'etc/modules-load.d',
  'etc/sysctl.d',
  'etc/tmpfiles.d',
  'etc/ssh',
  'etc/network',
  'etc/NetworkManager',
  'etc/dbus-1',
  'etc/polkit-1',
  'etc/holdfast',
];
const OBEYED_FILES = [
  'etc/passwd',
  'etc/shadow',
  'etc/group',
  'etc/gshadow',
  'etc/sudoers',
  'etc/crontab',
  'etc/rc.local',
  'etc/profile',
  'etc/inittab',
  'etc/fstab',
  'etc/ld.so.preload',
  'etc/ld.so.conf',
  'etc/environment',
  'root/.bashrc',
  'root/.profile',
];
const PROGRAM_FOLDERS = ['bin', 'sbin', 'usr/bin', 'usr/sbin', 'usr/local/bin', 'usr/local/sbin', 'usr/lib/systemd'];
const EXEC = ['ExecStart', 'ExecStartPre', 'ExecStartPost', 'ExecStop', 'ExecStopPost', 'ExecReload', 'ExecCondition'];
/** polkitd reads its rules there, and Debian gives the folder to it. */
const OF_ANOTHER_USER = new Set(['etc/polkit-1/rules.d']);
const WRITABLE_BY_ALL = 0o002;
const STICKY = 0o1000;

export function checkPermissions(view: TreeView, report: Report): void {
  const units = new Units(view);
  const checked = new Set<string>();
  const check = (entry: ImageEntry | undefined, why: string): void => {
    if (entry === undefined || checked.has(entry.path)) return;
    checked.add(entry.path);
    checkEntry(entry, why, report);
  };
  for (const folder of [...units.folders, ...OBEYED_FOLDERS]) checkBelow(view, folder, check);
  for (const path of OBEYED_FILES) check(view.resolve(path), 'root obeys it');
  for (const folder of PROGRAM_FOLDERS) {
    check(view.resolve(folder), 'root runs programs from it');
    for (const child of view.children(folder)) if (child.kind === 'file') check(child, 'root may run it');
  }
  for (const name of units.names()) {
    const user = units.last(name, 'User')?.value ?? 'root';
    if (user !== 'root' && user !== '0') continue;
    for (const key of EXEC) {
      for (const { value } of units.list(name, key)) checkProgram(view, programOf(value), name, check);
    }
  }
  for (const entry of view.files()) {
    if (entry.mode !== undefined && (entry.mode & 0o4000) !== 0 && entry.uid === 0)
      check(entry, 'it runs as root for everybody');
  }
}

type Check = (entry: ImageEntry | undefined, why: string) => void;

function checkBelow(view: TreeView, folder: string, check: Check): void {
  const top = view.resolve(folder);
  if (top?.kind !== 'folder') return;
  const waiting = [top];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    check(next, 'root obeys what is in it');
    for (const child of view.children(next.path)) {
      if (child.kind === 'folder') waiting.push(child);
      else if (child.kind === 'file') check(child, 'root obeys it');
    }
  }
}

/** The program and the folders above it: who can write into one of those can put another program there. */
function checkProgram(view: TreeView, program: string, unit: string, check: Check): void {
  if (!program.startsWith('/') || program.includes('%')) return;
  const entry = view.resolve(program);
  if (entry === undefined) return;
  check(entry, `${unit} runs it as root`);
  for (let cut = entry.path.lastIndexOf('/'); cut > 0; cut = entry.path.lastIndexOf('/', cut - 1)) {
    check(view.resolve(entry.path.slice(0, cut)), `${unit} runs a program below it as root`);
  }
}

function checkEntry({ path, kind, mode, uid }: ImageEntry, why: string, report: Report): void {
  if (mode === undefined || kind === 'link' || kind === 'other') return;
  const shared = kind === 'folder' && (mode & STICKY) !== 0;
  if ((mode & WRITABLE_BY_ALL) !== 0 && !shared)
    report('writable-by-all', path, `its mode is ${mode.toString(8)}: ${why}`);
  else if (uid !== 0 && !shared && !OF_ANOTHER_USER.has(path))
    report('owned-by-user', path, `user id ${uid} owns it: ${why}`);
}
