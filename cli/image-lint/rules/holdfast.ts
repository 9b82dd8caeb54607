/** Whether a product's root has Holdfast in it, on, and with both gates of first boot in front of logins and networks. */
import type { Report } from '../findings.ts';
import type { TreeView } from '../tree.ts';
import { Units } from '../units.ts';

const AGENT = 'holdfast-agent.service';
export const CONFIGURATION = 'etc/holdfast/agent.json';
const GATE_UNITS = ['holdfast-quiet.service', 'holdfast-firstboot.service', 'holdfast-open.service'];
const GATES = { open: 'holdfast-open.service', quiet: 'holdfast-quiet.service' } as const;

/**
 * What may let somebody in waits for OPEN; what brings a network up waits for the firewall. Those that are there. The same
 * lists stand in agent/systemd/first-boot, where `holdfast-gates enable` reads them.
 */
export const BOUND: Readonly<Record<'open' | 'quiet', readonly string[]>> = {
  open: [
    'ssh.service',
    'ssh.socket',
    'ssh@.service',
    'sshd.service',
    'sshd.socket',
    'sshd@.service',
    'dropbear.service',
    'dropbear.socket',
    'dropbear@.service',
    'telnet.socket',
    'inetd.service',
    'xinetd.service',
    'getty@.service',
    'autovt@.service',
    'serial-getty@.service',
    'console-getty.service',
    'container-getty@.service',
    'debug-shell.service',
    'emergency.service',
    'rescue.service',
    'cockpit.socket',
    'xrdp.service',
    'wayvnc.service',
    'vncserver-x11-serviced.service',
    'vsftpd.service',
    'proftpd.service',
    'smbd.service',
    'lightdm.service',
    'gdm.service',
    'sddm.service',
    'hostapd.service',
    'hostapd@.service',
  ],
  quiet: [
    'NetworkManager.service',
    'systemd-networkd.service',
    'systemd-networkd.socket',
    'dhcpcd.service',
    'dhcpcd@.service',
    'wpa_supplicant.service',
    'wpa_supplicant@.service',
    'wpa_supplicant-nl80211@.service',
    'wpa_supplicant-wired@.service',
    'networking.service',
    'ifup@.service',
    'connman.service',
    'iwd.service',
  ],
};

/** By whatever links lead there. */
export const isConfigured = (view: TreeView): boolean => view.resolve(CONFIGURATION)?.kind === 'file';

export function checkHoldfast(view: TreeView, report: Report, isProduct: boolean): void {
  const units = new Units(view);
  const configured = isConfigured(view);
  if (!configured && !isProduct) {
    report('agent-absent', '', 'no agent.json');
    return;
  }
  if (!configured) report('agent-missing', CONFIGURATION, 'no agent.json');
  if (!units.exists(AGENT)) report('agent-missing', '', `no ${AGENT}`);
  else if (!units.enabled().has(AGENT)) report('agent-not-enabled', units.path(AGENT) ?? '', `${AGENT} is not enabled`);
  checkGateUnits(units, report);
  checkBound(units, report);
}

function checkGateUnits(units: Units, report: Report): void {
  for (const name of GATE_UNITS) {
    if (!units.exists(name)) {
      report('gate-missing', '', units.isMasked(name) ? `${name} is masked` : `no ${name}`);
      continue;
    }
    const isOn = units.enabled().has(name) || isBoundBySomething(units, name);
    if (!isOn) report('gate-missing', units.path(name) ?? '', `nothing starts ${name}`);
    for (const { key, path, line } of units.settings(name)) {
      if (/^(Condition|Assert)/.test(key)) report('gate-conditional', path, `${name} has ${key}`, line);
    }
  }
}

/** A gate needs no link of its own where a login or a manager pulls it in. */
function isBoundBySomething(units: Units, gate: string): boolean {
  const candidates = [...BOUND.open, ...BOUND.quiet, ...GATE_UNITS];
  return candidates.some((name) => units.exists(name) && bindsTo(units, name, gate));
}

function checkBound(units: Units, report: Report): void {
  for (const kind of ['quiet', 'open'] as const) {
    const gate = GATES[kind];
    for (const name of BOUND[kind]) {
      if (!units.exists(name) || bindsTo(units, name, gate)) continue;
      report('gate-unbound', units.path(name) ?? '', `${name} does not bind to ${gate}`);
    }
  }
}

/** Requirement and order: one without the other lets the unit start first. */
function bindsTo(units: Units, name: string, gate: string): boolean {
  const has = (key: string): boolean => units.list(name, key).some(({ value }) => value.split(/\s+/).includes(gate));
  return (has('BindsTo') || has('Requires')) && has('After');
}
