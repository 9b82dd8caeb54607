/**
 * Everything that `holdfast image lint` can find: a closed list. Each has one severity, a sentence of what it means, and a
 * cure. docs/IMAGE_LINT.md is made from it. Codes are stable: scripts and allowances name them.
 */

export type Severity = 'error' | 'warning' | 'note';

interface FindingKind {
  readonly severity: Severity;
  readonly meaning: string;
  readonly cure: string;
}

export const FINDINGS = {
  'password-empty': {
    severity: 'error',
    meaning: 'an account has no password, and needs none',
    cure: 'Lock it: an asterisk in the second field of /etc/shadow (passwd --lock).',
  },
  'password-default': {
    severity: 'error',
    meaning: 'the hash of an account is that of a well-known password, or of its own name',
    cure: 'Lock the account in the image; each device makes its own password at first boot.',
  },
  'password-shared': {
    severity: 'warning',
    meaning:
      'an account has a password of its own in the image: the same on every device, and open to whoever cracks one hash',
    cure: 'Lock the account in the image; each device makes its own password at first boot.',
  },
  'password-untested': {
    severity: 'warning',
    meaning: 'a hash could not be tested: its kind is not known here, or it takes too long',
    cure: 'Lock the account in the image, or hash its password with yescrypt or sha512crypt and usual costs.',
  },
  'root-unlocked': {
    severity: 'warning',
    meaning: 'root has a password, so the emergency and rescue shells open with it on every console',
    cure: 'Lock root in /etc/shadow, so that these shells stay shut.',
  },
  'uid-zero': {
    severity: 'error',
    meaning: 'an account beside root has user id 0',
    cure: 'Remove the account, or give it an id of its own and sudo rules.',
  },
  'shadow-readable': {
    severity: 'error',
    meaning: 'every user can read the password hashes',
    cure: 'chmod 640 and chown root:shadow (or 600 and root:root) in the image.',
  },
  'sulogin-forced': {
    severity: 'error',
    meaning: 'the emergency and rescue shells open without a password although root is locked',
    cure: 'Remove SYSTEMD_SULOGIN_FORCE and sulogin --force from units and kernel arguments.',
  },
  'host-key': {
    severity: 'error',
    meaning: 'an SSH host key is in the image: every device has it, and whoever has the image can pose as each of them',
    cure: 'Remove the host keys, private and public, from the image; they are made at first boot.',
  },
  'machine-id': {
    severity: 'error',
    meaning: 'the machine id is filled: every device has the same',
    cure: 'Truncate /etc/machine-id to an empty file, and make /var/lib/dbus/machine-id a link to it.',
  },
  'random-seed': {
    severity: 'error',
    meaning: 'a saved random seed is in the image: every device starts with the same',
    cure: 'Remove the file from the image.',
  },
  'credential-secret': {
    severity: 'error',
    meaning: "systemd's key for encrypted credentials is in the image",
    cure: 'Remove the file; systemd makes it on each device.',
  },
  'claim-baked': {
    severity: 'error',
    meaning: 'the claim of a device is in the image: with it, whoever has the image can enrol in its place',
    cure: 'Leave the claim out and put one onto each device at production (boot partition or label); allow it for the image of one device.',
  },
  'identity-baked': {
    severity: 'error',
    meaning: 'the Holdfast identity of a device is in the image, as if it was captured from a running one',
    cure: 'Build the image anew instead of capturing it, or empty the data directory of the agent.',
  },
  'private-key': {
    severity: 'error',
    meaning: 'a private key is in the image, and every device has it',
    cure: 'Remove it and count it as known; let each device make its own at first boot.',
  },
  'private-key-example': {
    severity: 'note',
    meaning: 'a private key lies among documentation, examples, tests or public certificate bundles',
    cure: 'Check that nothing uses it; leave such files out of an image for devices.',
  },
  token: {
    severity: 'error',
    meaning: 'an access token or signing secret of a service is in the image',
    cure: 'Revoke it at the service, then remove it; give each device a token of its own after enrolment.',
  },
  'session-token': {
    severity: 'warning',
    meaning: 'a signed JSON web token is in the image; it may still be valid',
    cure: 'Remove it, and revoke it where it was issued.',
  },
  'wifi-secret': {
    severity: 'error',
    meaning: 'the secret of a Wi-Fi network or access point is in the image: the same on every device',
    cure: 'Remove it; the access point gets a passphrase at first boot, networks are set up by the owner.',
  },
  'stored-login': {
    severity: 'error',
    meaning: 'a file with the login of a person or build machine is in the image',
    cure: 'Remove the file, and change the password or token that it holds.',
  },
  'shell-history': {
    severity: 'warning',
    meaning: 'the history of a shell is in the image; such files hold typed passwords',
    cure: 'Remove the file from the image.',
  },
  'authorized-keys': {
    severity: 'error',
    meaning: 'an SSH key is let in on every device',
    cure: "Remove the file; the owner's keys come with first boot.",
  },
  'ssh-root-password': {
    severity: 'error',
    meaning: 'sshd lets root in with a password',
    cure: 'Set PermitRootLogin prohibit-password or no, and PasswordAuthentication no.',
  },
  'ssh-empty-passwords': {
    severity: 'error',
    meaning: 'sshd or dropbear lets accounts in that have an empty password',
    cure: 'Remove PermitEmptyPasswords yes (of dropbear: -B).',
  },
  'console-autologin': {
    severity: 'error',
    meaning: 'a console logs somebody in without asking',
    cure: 'Remove --autologin (or -l with a shell) from the getty, its drop-ins and /etc/inittab.',
  },
  'console-shell': {
    severity: 'error',
    meaning: 'a console, or the kernel command line, starts a shell without a login',
    cure: 'Start getty with login instead; remove init=, rd.break and single from the kernel arguments.',
  },
  'debug-shell': {
    severity: 'error',
    meaning: "systemd's debug shell is on: root without a password on tty9 or the serial console",
    cure: 'systemctl disable debug-shell.service; remove systemd.debug_shell from the kernel arguments.',
  },
  'desktop-autologin': {
    severity: 'warning',
    meaning: 'the login manager logs a user in without asking',
    cure: 'Right for a kiosk whose user may do nothing else (allow it then); else remove it.',
  },
  'service-unsafe': {
    severity: 'error',
    meaning:
      'a service is on that lets others in without encryption, or without any login: telnet, rsh, FTP, TFTP, adb',
    cure: 'Disable and remove it; use SSH.',
  },
  'writable-by-all': {
    severity: 'error',
    meaning: 'every user can change a file that root runs or obeys',
    cure: 'chmod o-w on it, and on the folder it lies in.',
  },
  'owned-by-user': {
    severity: 'warning',
    meaning: 'a user other than root owns a file that root runs or obeys',
    cure: 'chown root:root in the image.',
  },
  'agent-absent': {
    severity: 'note',
    meaning: 'there is no Holdfast agent in this root file system, so its gates were not looked for',
    cure: 'Right for a root that gets the agent later; with --product it is an error.',
  },
  'agent-missing': {
    severity: 'error',
    meaning: 'there is no holdfast-agent.service, or no /etc/holdfast/agent.json',
    cure: 'Install the package and put agent.json, root.json and server-ca.pem into /etc/holdfast (docs/PACKAGING.md).',
  },
  'agent-not-enabled': {
    severity: 'error',
    meaning: 'the agent is installed and nothing starts it',
    cure: 'systemctl enable holdfast-agent.service in the image.',
  },
  'gate-missing': {
    severity: 'error',
    meaning: 'a unit of the first-boot gate is missing, masked or not enabled',
    cure: 'Install the package of the agent, and run holdfast-gates enable --root in the image.',
  },
  'gate-unbound': {
    severity: 'error',
    meaning: 'a login or a network manager starts without waiting for its gate',
    cure: 'Run holdfast-gates enable --root (BindsTo= and After= of the gate, in a drop-in of the unit).',
  },
  'gate-conditional': {
    severity: 'error',
    meaning:
      'a unit of the gate has a Condition or Assert; a failed condition counts as success, and the gate stands open',
    cure: 'Remove every Condition…= from the unit and its drop-ins.',
  },
  'file-unread': {
    severity: 'error',
    meaning: 'a file could not be read, so nothing is known about it',
    cure: 'Lint the image instead of the folder, or run as a user that may read it; of a damaged image: build it anew.',
  },
  'filesystem-unread': {
    severity: 'error',
    meaning: 'a file system could not be read, so nothing is known about it',
    cure: 'Lint what it was made from (the folder or an ext4 of it) beside this image, then allow this.',
  },
  'partition-unknown': {
    severity: 'warning',
    meaning: 'a partition holds no file system that is known; it was not looked into',
    cure: 'Right for a bootloader or its environment (allow it then); else look at what is there.',
  },
  'root-absent': {
    severity: 'warning',
    meaning: 'no root file system (etc and usr) was found, so rules about configuration had nothing to look at',
    cure: 'Right for a boot or data partition; else check that this is the image meant.',
  },
  'image-hostile': {
    severity: 'error',
    meaning: 'a file system has names or structures that none has that was made properly; something may be hidden',
    cure: 'Do not use the image; build it anew from its sources.',
  },
  'scan-incomplete': {
    severity: 'error',
    meaning: 'there is more than is looked through or listed, so the rest is unknown',
    cure: 'Lint the parts of the image one by one.',
  },
  'file-cut': {
    severity: 'note',
    meaning: 'only the beginning of a large file was looked through',
    cure: 'Check by hand what is appended to it, if anything.',
  },
  'allowance-unused': {
    severity: 'note',
    meaning: 'an --allow fits no finding any more',
    cure: 'Remove it, so that it does not hide the next one.',
  },
} as const satisfies Readonly<Record<string, FindingKind>>;

export type FindingCode = keyof typeof FINDINGS;

export interface Finding {
  readonly code: FindingCode;
  readonly severity: Severity;
  /** As `Volume.name`; empty when the image is one file system. */
  readonly volume: string;
  /** In the file system, with a slash in front; empty when it concerns the whole of it. */
  readonly path: string;
  readonly line: number | null;
  /** What exactly; never a secret. */
  readonly what: string;
  readonly cure: string;
  /** Why it was allowed; null: it was not. */
  readonly allowed: string | null;
}

/** How a rule reports. `path` without a slash in front, as in a tree. */
export type Report = (code: FindingCode, path: string, what: string, line?: number) => void;

/** 1 for the first line. */
export function lineAt(text: string, index: number): number {
  let line = 1;
  for (let at = text.indexOf('\n'); at >= 0 && at < index; at = text.indexOf('\n', at + 1)) line += 1;
  return line;
}
