/** Every fault that must be found, planted one at a time into a clean root. Keys and tokens here were made for this file. */
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import type { FindingCode } from '../../../../cli/image-lint/findings.ts';
import { checksum } from '../../../../cli/image-lint/rules/tokens.ts';
import type { Planted } from './image-maker.ts';

export interface Plant {
  readonly name: string;
  readonly planted: Planted;
  /** Everything that is found then, as `told` says it. */
  readonly found: readonly `${FindingCode} ${string}`[];
}

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ed25519 = generateKeyPairSync('ed25519');
const pem = (type: 'pkcs8' | 'pkcs1' | 'sec1', key = type === 'pkcs1' ? rsa : ec): string =>
  key.privateKey.export({ type: type as 'pkcs8', format: 'pem' }).toString();
const der = (type: 'pkcs8' | 'pkcs1' | 'sec1', key = type === 'pkcs1' ? rsa : ec): Buffer =>
  key.privateKey.export({ type: type as 'pkcs8', format: 'der' });
const encrypted = ec.privateKey.export({ type: 'pkcs8', format: 'der', cipher: 'aes-256-cbc', passphrase: 'x' });
/** The shape of ssh-keygen's files; what is behind the magic does not matter here. */
const opensshKey = `-----BEGIN OPENSSH PRIVATE KEY-----\n${Buffer.concat([
  Buffer.from('openssh-key-v1\0'),
  randomBytes(200),
])
  .toString('base64')
  .replaceAll(/(.{70})/g, '$1\n')}\n-----END OPENSSH PRIVATE KEY-----\n`;
const putty =
  'PuTTY-User-Key-File-3: ssh-ed25519\r\nEncryption: none\r\nComment: x\r\nPublic-Lines: 1\r\nAAAA\r\nPrivate-Lines: 1\r\nAAAA\r\nPrivate-MAC: 00\r\n';
const letters = (length: number): string => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
  return [...randomBytes(length)].map((byte) => alphabet[byte % 62]).join('');
};
const githubToken = (): string => {
  const payload = letters(30);
  return `ghp_${payload}${checksum(payload)}`;
};
const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const jwt = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: 'device', iat: 1 })}.${randomBytes(32).toString('base64url')}`;
const publicKey = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${letters(43)} maker@bench`;
const claim = {
  format: 'holdfast-claim-1',
  claimId: 'cam-0001',
  hardwareClass: 'acme-cam',
  secret: randomBytes(32).toString('base64url'),
  expiresUnixMs: 1,
};

function pkcs12(): Buffer {
  const key = ec.privateKey.export({ type: 'sec1', format: 'pem' }).toString();
  return execFileSync('openssl', ['pkcs12', '-export', '-nocerts', '-passout', 'pass:x'], {
    input: key,
  });
}

const shadow = (line: string): Planted => ({
  'etc/shadow': { text: `root:*:20000:0:99999:7:::\n${line}:20000:0:99999:7:::\n`, mode: 0o640 },
});
const rootHash = (hash: string): Planted => ({
  'etc/shadow': { text: `root:${hash}:20000:0:99999:7:::\n`, mode: 0o640 },
});
const SYSTEM = 'usr/lib/systemd/system';
const WANTS = 'etc/systemd/system/multi-user.target.wants';
const SSHD = 'etc/ssh/sshd_config';

const ACCOUNTS: readonly Plant[] = [
  { name: 'an empty password', planted: shadow('pi:'), found: ['password-empty /etc/shadow:2'] },
  {
    name: 'an empty password in passwd',
    planted: { 'etc/passwd': 'root:x:0:0::/root:/bin/sh\nguest::1001:1001::/:/bin/sh\n' },
    found: ['password-empty /etc/passwd:2'],
  },
  {
    name: 'the hash of an empty password',
    planted: shadow(
      'pi:$6$rounds=1000$saltsalt$VEHSITfYmhRDpD6t31S9LUhNne.FOx10qNSjfu2skYK5wKPYCkdF/995SUbfpqIy5BFbEit9G4aDmW4aq4oX9.',
    ),
    found: ['password-empty /etc/shadow:2'],
  },
  {
    name: 'a well-known password, sha512crypt',
    planted: shadow(
      'pi:$6$rounds=1000$saltsalt$9jsfPMufc7TMFiEWDyT.Sbn4KojSy9tFsCLkZPI.UjcsWJhFaXQFJiMmCeX5CDD66k/O7K6PtTo8cSu67yb2y0',
    ),
    found: ['password-default /etc/shadow:2'],
  },
  {
    name: 'a well-known password, sha256crypt',
    planted: shadow('admin:$5$rounds=1000$saltsalt$AaBLO5ExCC3GHuSZJSRQSXJabwtG27DZBw.fGyB1q/9'),
    found: ['password-default /etc/shadow:2'],
  },
  {
    name: 'a well-known password, md5crypt',
    planted: shadow('admin:$1$saltsalt$Y3BMhxQHmg7scgLILa56u1'),
    found: ['password-default /etc/shadow:2'],
  },
  {
    name: 'a well-known password, bcrypt',
    planted: shadow('ubnt:$2b$04$abcdefghijklmnopqrstuu1CYDLmnT.tkvJTwsjKPJjYExGDs87N2'),
    found: ['password-default /etc/shadow:2'],
  },
  {
    name: 'a well-known password of root, yescrypt',
    planted: rootHash('$y$j9T$saltsaltsalt$8Md6L0sdW27sCEX2NH3NwZhGgK1JkWPL2LdTAMsTWT/'),
    found: ['password-default /etc/shadow:1', 'root-unlocked /etc/shadow:1'],
  },
  {
    name: 'a well-known password of root, descrypt in passwd',
    planted: { 'etc/passwd': 'root:ab6TRGT20sY26:0:0::/root:/bin/sh\n', 'etc/shadow': null },
    found: ['password-default /etc/passwd:1', 'root-unlocked /etc/passwd:1'],
  },
  {
    name: 'a password of its own',
    planted: shadow(
      'pi:$6$rounds=1000$saltsalt$0WbH2cJIdHruAaBYMXg2zSrLE.KXmmh1cnX67HOhMRDw.ZkUHO8p7QD7KjUn8lOh/5R0uU.CsLXS9iPPHjoXU/',
    ),
    found: ['password-shared /etc/shadow:2'],
  },
  {
    name: 'a hash of an unknown kind',
    planted: shadow('pi:$zz$saltsalt$0123456789abcdef'),
    found: ['password-untested /etc/shadow:2'],
  },
  {
    name: 'a second user id 0',
    planted: { 'etc/passwd': 'root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\n' },
    found: ['uid-zero /etc/passwd:2'],
  },
  {
    name: 'a shadow file for everybody',
    planted: { 'etc/shadow': { text: 'root:*:1::::::\n', mode: 0o644 } },
    found: ['shadow-readable /etc/shadow'],
  },
  {
    name: 'a password in the backup of shadow',
    planted: { 'etc/shadow-': { text: 'admin:$1$saltsalt$Y3BMhxQHmg7scgLILa56u1:20000:0:99999:7:::\n', mode: 0o600 } },
    found: ['password-default /etc/shadow-:1'],
  },
  {
    name: 'the account of a boot partition',
    planted: { 'boot/firmware/userconf.txt': 'admin:$1$saltsalt$Y3BMhxQHmg7scgLILa56u1\n' },
    found: ['password-default /boot/firmware/userconf.txt:1'],
  },
];

const IDENTITY: readonly Plant[] = [
  {
    name: 'a machine id',
    planted: { 'etc/machine-id': `${'0123456789abcdef'.repeat(2)}\n` },
    found: ['machine-id /etc/machine-id'],
  },
  {
    name: "D-Bus's machine id",
    planted: { 'var/lib/dbus/machine-id': `${'0123456789abcdef'.repeat(2)}\n` },
    found: ['machine-id /var/lib/dbus/machine-id'],
  },
  {
    name: 'a host key',
    planted: { 'etc/ssh/ssh_host_ed25519_key': opensshKey },
    found: ['host-key /etc/ssh/ssh_host_ed25519_key'],
  },
  {
    name: "dropbear's host key",
    planted: { 'etc/dropbear/dropbear_ed25519_host_key': { text: randomBytes(80) } },
    found: ['host-key /etc/dropbear/dropbear_ed25519_host_key'],
  },
  {
    name: 'a random seed',
    planted: { 'var/lib/systemd/random-seed': 'x'.repeat(512) },
    found: ['random-seed /var/lib/systemd/random-seed'],
  },
  {
    name: "sysv's random seed",
    planted: { 'var/lib/urandom/random-seed': 'x'.repeat(512) },
    found: ['random-seed /var/lib/urandom/random-seed'],
  },
  {
    name: 'the key of credentials',
    planted: { 'var/lib/systemd/credential.secret': 'x'.repeat(64) },
    found: ['credential-secret /var/lib/systemd/credential.secret'],
  },
  {
    name: 'a claim',
    planted: { 'etc/holdfast/claim.json': JSON.stringify(claim, null, 2) },
    found: ['claim-baked /etc/holdfast/claim.json'],
  },
  {
    name: 'claims of a batch',
    planted: { 'opt/batch': `${JSON.stringify(claim)}\n${JSON.stringify(claim)}\n` },
    found: ['claim-baked /opt/batch'],
  },
  {
    name: 'an identity',
    planted: { 'var/lib/holdfast/identity/device.key': pem('pkcs8') },
    found: ['identity-baked /var/lib/holdfast/identity/device.key'],
  },
];

const key = (name: string, text: string | Buffer, line = ''): Plant => ({
  name,
  planted: { 'opt/app/data': { text } },
  found: [`private-key /opt/app/data${line}`],
});
const KEYS: readonly Plant[] = [
  {
    name: 'a machine id behind a link',
    planted: { 'etc/machine-id': { link: '/opt/id' }, 'opt/id': `${'ab'.repeat(16)}\n` },
    found: ['machine-id /etc/machine-id'],
  },
  key('a PKCS#8 key in PEM', `# mine\n${pem('pkcs8')}`, ':2'),
  key('an Ed25519 key in PEM', ed25519.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), ':1'),
  key('an RSA key in PEM', pem('pkcs1'), ':1'),
  key('an EC key in PEM', pem('sec1'), ':1'),
  key('a key in JSON', JSON.stringify({ private_key: pem('pkcs8') }), ':1'),
  key(
    'an encrypted key in PEM',
    rsa.privateKey.export({ type: 'pkcs1', format: 'pem', cipher: 'aes-128-cbc', passphrase: 'x' }).toString(),
    ':1',
  ),
  key('an OpenSSH key', opensshKey, ':1'),
  key('a PuTTY key', putty),
  key('a PKCS#8 key in DER', der('pkcs8')),
  key('a PKCS#1 key in DER', der('pkcs1')),
  key('an EC key in DER', der('sec1')),
  key('an encrypted key in DER', encrypted),
  key('a PKCS#12 file', pkcs12()),
  key('a JSON web key', JSON.stringify(ec.privateKey.export({ format: 'jwk' })), ':1'),
  {
    name: 'a key among examples',
    planted: { 'usr/share/doc/app/examples/key.pem': pem('pkcs8') },
    found: ['private-key-example /usr/share/doc/app/examples/key.pem:1'],
  },
];

const token = (name: string, text: string): Plant => ({
  name,
  planted: { 'opt/app/settings': `first line\n${text}\n` },
  found: ['token /opt/app/settings:2'],
});
const TOKENS: readonly Plant[] = [
  token('an AWS key', `aws_access_key_id = AKIA${'Q3EGRPV5ZL7NTKWC'}\naws_secret_access_key = ${letters(40)}`),
  token('a GitHub token', `GITHUB_TOKEN=${githubToken()}`),
  token('a GitHub token in a URL', `https://x:${githubToken()}@github.com/acme/app`),
  token('an npm token', `token ${githubToken().replace('ghp_', 'npm_')}`),
  token('a GitLab token', `glpat-${letters(20)}`),
  token('a Slack token', `xoxb-123456789012-123456789012-${letters(24)}`),
  token('a Slack webhook', `https://hooks.slack.com/services/T0ABCDEF1/B0ABCDEF2/${letters(24)}`),
  token('a secret for JSON web tokens', `JWT_SECRET=${letters(32)}`),
  {
    name: 'a JSON web token',
    planted: { 'opt/app/settings': `${jwt}\n` },
    found: ['session-token /opt/app/settings:1'],
  },
];

const NETWORK = 'etc/NetworkManager/system-connections/home.nmconnection';
const stored = (path: string, text: string, line = 1): Plant => ({
  name: path,
  planted: { [path]: { text, mode: 0o600 } },
  found: [`stored-login /${path}:${line}`],
});
const wifi = (path: string, text: string, line: number): Plant => ({
  name: path,
  planted: { [path]: { text, mode: 0o600 } },
  found: [`wifi-secret /${path}:${line}`],
});
const STORED: readonly Plant[] = [
  wifi(NETWORK, '[wifi-security]\nkey-mgmt=wpa-psk\npsk=correct horse\n', 3),
  wifi('etc/wpa_supplicant/wpa_supplicant-wlan0.conf', 'network={\n  ssid="home"\n  psk="correct horse"\n}\n', 3),
  wifi('etc/hostapd/hostapd.conf', 'interface=wlan0\n#wpa_passphrase=old\nwpa_passphrase=acme-setup\n', 3),
  wifi(
    'etc/netplan/50-wifi.yaml',
    'network:\n  wifis:\n    wlan0:\n      access-points:\n        home:\n          password: "correct horse"\n',
    6,
  ),
  wifi('var/lib/iwd/home.psk', '[Security]\nPassphrase=correct horse\n', 2),
  stored('root/.netrc', 'machine git.acme.example login ci password s3cret\n'),
  stored(
    'root/.npmrc',
    `registry=https://r.example\n//r.example/:_authToken=${githubToken().replace('ghp_', 'npm_')}\n`,
    2,
  ),
  stored('root/.docker/config.json', '{ "auths": { "r.example": {\n "auth": "Y2k6czNjcmV0" } } }\n', 2),
  stored('home/pi/.git-credentials', 'https://ci:s3cret@git.acme.example\n'),
  stored('root/.pgpass', 'db:5432:app:app:s3cret\n'),
  stored('etc/apt/auth.conf.d/acme.conf', 'machine apt.acme.example login ci password s3cret\n'),
  { name: 'a shell history', planted: { 'root/.bash_history': 'ls\n' }, found: ['shell-history /root/.bash_history'] },
];

const DOORS: readonly Plant[] = [
  {
    name: "root's authorized_keys",
    planted: { 'root/.ssh/authorized_keys': `# bench\n${publicKey}\n` },
    found: ['authorized-keys /root/.ssh/authorized_keys:2'],
  },
  {
    name: "a user's authorized_keys with options",
    planted: { 'home/pi/.ssh/authorized_keys': `from="10.0.0.0/8",no-pty ${publicKey}\n` },
    found: ['authorized-keys /home/pi/.ssh/authorized_keys:1'],
  },
  {
    name: 'root by password',
    planted: { [SSHD]: 'PermitRootLogin yes\n' },
    found: ['ssh-root-password /etc/ssh/sshd_config:1'],
  },
  {
    name: 'root by password in an include',
    planted: { 'etc/ssh/sshd_config.d/50-acme.conf': 'permitrootlogin=yes\nPasswordAuthentication yes\n' },
    found: ['ssh-root-password /etc/ssh/sshd_config.d/50-acme.conf:1'],
  },
  {
    name: 'root by password for a network',
    planted: { [SSHD]: 'PermitRootLogin no\nMatch Address 10.0.0.0/8\n  PermitRootLogin yes\n' },
    found: ['ssh-root-password /etc/ssh/sshd_config:3'],
  },
  {
    name: 'empty passwords',
    planted: { [SSHD]: 'PermitEmptyPasswords yes\n' },
    found: ['ssh-empty-passwords /etc/ssh/sshd_config:1'],
  },
  {
    name: 'empty passwords of dropbear',
    planted: { 'etc/default/dropbear': 'DROPBEAR_EXTRA_ARGS="-w -B"\n' },
    found: ['ssh-empty-passwords /etc/default/dropbear:1'],
  },
  {
    name: 'a getty that logs in',
    planted: {
      'etc/systemd/system/getty@tty1.service.d/autologin.conf':
        '[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin pi --noclear %I $TERM\n',
    },
    found: ['console-autologin /etc/systemd/system/getty@tty1.service.d/autologin.conf:3'],
  },
  {
    name: 'a serial getty that logs in',
    planted: {
      'etc/systemd/system/serial-getty@.service.d/a.conf':
        '[Service]\nExecStart=\nExecStart=-/sbin/agetty -a root 115200 %I\n',
    },
    found: ['console-autologin /etc/systemd/system/serial-getty@.service.d/a.conf:3'],
  },
  {
    name: 'a getty of busybox without a login',
    planted: { 'etc/inittab': 'ttyS0::respawn:/sbin/getty -n -l /bin/sh 115200 ttyS0\n' },
    found: ['console-autologin /etc/inittab:1'],
  },
  {
    name: 'a shell on the console',
    planted: { 'etc/inittab': '::askfirst:-/bin/sh\n' },
    found: ['console-shell /etc/inittab:1'],
  },
  {
    name: 'the debug shell',
    planted: {
      'etc/systemd/system/sysinit.target.wants/debug-shell.service': { link: `/${SYSTEM}/debug-shell.service` },
    },
    found: ['debug-shell /etc/systemd/system/sysinit.target.wants/debug-shell.service'],
  },
  {
    name: 'the debug shell in arguments',
    planted: { 'boot/cmdline.txt': 'root=/dev/sda systemd.debug_shell=1\n' },
    found: ['debug-shell /boot/cmdline.txt:1'],
  },
  {
    name: 'a shell as init',
    planted: { 'boot/extlinux/extlinux.conf': 'label a\n append ro init=/bin/sh\n' },
    found: ['console-shell /boot/extlinux/extlinux.conf:2'],
  },
  {
    name: "a shell on a terminal, by a unit of the maker's",
    planted: {
      [`${SYSTEM}/console.service`]: '[Service]\nExecStart=-/bin/sh -l\nStandardInput=tty-force\nTTYPath=/dev/ttyS0\n',
      [`${WANTS}/console.service`]: { link: `/${SYSTEM}/console.service` },
    },
    found: [`console-shell /${SYSTEM}/console.service:2`],
  },
  {
    name: 'forced emergency shells',
    planted: { 'etc/systemd/system/emergency.service.d/a.conf': '[Service]\nEnvironment=SYSTEMD_SULOGIN_FORCE=1\n' },
    found: ['sulogin-forced /etc/systemd/system/emergency.service.d/a.conf:2'],
  },
  {
    name: 'forced emergency shells in arguments',
    planted: { 'boot/firmware/cmdline.txt': 'quiet systemd.setenv=SYSTEMD_SULOGIN_FORCE=1\n' },
    found: ['sulogin-forced /boot/firmware/cmdline.txt:1'],
  },
  {
    name: 'a desktop that logs in',
    planted: { 'etc/lightdm/lightdm.conf': '[Seat:*]\n#autologin-user=x\nautologin-user=pi\n' },
    found: ['desktop-autologin /etc/lightdm/lightdm.conf:3'],
  },
];

const enabledUnit = (name: string, command: string): Planted => ({
  [`${SYSTEM}/${name}`]: `[Service]\nExecStart=${command}\n`,
  [`${WANTS}/${name}`]: { link: `/${SYSTEM}/${name}` },
});
const SERVICES: readonly Plant[] = [
  {
    name: 'telnet by a socket',
    planted: {
      [`${SYSTEM}/telnet.socket`]: '[Socket]\nListenStream=23\nAccept=yes\n',
      [`${SYSTEM}/telnet@.service`]: '[Service]\nExecStart=-/usr/sbin/in.telnetd\n',
      'etc/systemd/system/sockets.target.wants/telnet.socket': { link: `/${SYSTEM}/telnet.socket` },
    },
    found: [
      `gate-unbound /${SYSTEM}/telnet.socket`,
      'service-unsafe /etc/systemd/system/sockets.target.wants/telnet.socket',
      `service-unsafe /${SYSTEM}/telnet.socket`,
    ],
  },
  {
    name: 'telnet under another name',
    planted: enabledUnit('support.service', '/bin/busybox telnetd -F -l /bin/sh'),
    found: [`service-unsafe /${WANTS}/support.service`],
  },
  {
    name: 'FTP',
    planted: enabledUnit('vsftpd.service', '/usr/sbin/vsftpd /etc/vsftpd.conf'),
    found: [`gate-unbound /${SYSTEM}/vsftpd.service`, `service-unsafe /${WANTS}/vsftpd.service`],
  },
  {
    name: 'TFTP',
    planted: enabledUnit('tftpd-hpa.service', '/usr/sbin/in.tftpd -l'),
    found: [`service-unsafe /${WANTS}/tftpd-hpa.service`],
  },
  {
    name: 'adb',
    planted: enabledUnit('adbd.service', '/usr/bin/adbd'),
    found: [`service-unsafe /${WANTS}/adbd.service`],
  },
  {
    name: 'telnet by inetd',
    planted: {
      ...enabledUnit('inetd.service', '/usr/sbin/inetd'),
      'etc/inetd.conf': '# services\ntelnet stream tcp nowait root /usr/sbin/in.telnetd in.telnetd\n',
    },
    found: [`gate-unbound /${SYSTEM}/inetd.service`, 'service-unsafe /etc/inetd.conf:2'],
  },
  {
    name: 'rsh by xinetd',
    planted: {
      ...enabledUnit('xinetd.service', '/usr/sbin/xinetd'),
      'etc/xinetd.d/rsh': 'service shell\n{\n  disable = no\n}\nservice telnet\n{\n  disable = yes\n}\n',
    },
    found: [`gate-unbound /${SYSTEM}/xinetd.service`, 'service-unsafe /etc/xinetd.d/rsh:1'],
  },
  {
    name: 'telnet by a link of a runlevel',
    planted: {
      'etc/rc2.d/S20telnetd': { link: '../init.d/telnetd' },
      'etc/init.d/telnetd': { text: '#!/bin/sh\n', mode: 0o755 },
    },
    found: ['service-unsafe /etc/rc2.d/S20telnetd'],
  },
  {
    name: "telnet in a script of buildroot's",
    planted: {
      'etc/init.d/S50support': {
        text: '#!/bin/sh\nstart-stop-daemon -S -b --exec /usr/sbin/telnetd -- -F\n',
        mode: 0o755,
      },
    },
    found: ['service-unsafe /etc/init.d/S50support:2'],
  },
  {
    name: 'telnet in rc.local',
    planted: { 'etc/rc.local': { text: '#!/bin/sh\n[ -x /usr/sbin/telnetd ] && /usr/sbin/telnetd &\n', mode: 0o755 } },
    found: ['service-unsafe /etc/rc.local:2'],
  },
];

const PERMISSIONS: readonly Plant[] = [
  {
    name: 'a unit for everybody',
    planted: { 'etc/systemd/system/app.service': { text: '[Service]\nExecStart=/usr/bin/true\n', mode: 0o666 } },
    found: ['writable-by-all /etc/systemd/system/app.service'],
  },
  {
    name: 'a program of a unit for everybody',
    planted: {
      'opt/app/run': { text: '#!/bin/sh\n', mode: 0o777 },
      'etc/systemd/system/app.service': '[Service]\nExecStart=-/opt/app/run --now\n',
    },
    found: ['writable-by-all /opt/app/run'],
  },
  {
    name: 'the folder of a program for everybody',
    planted: {
      'opt/app': { folder: true, mode: 0o777 },
      'opt/app/run': { text: '', mode: 0o755 },
      'etc/systemd/system/app.service': '[Service]\nExecStartPre=+/opt/app/run\n',
    },
    found: ['writable-by-all /opt/app'],
  },
  {
    name: 'a schedule for everybody',
    planted: { 'etc/cron.d/app': { text: '\n', mode: 0o646 } },
    found: ['writable-by-all /etc/cron.d/app'],
  },
  {
    name: 'passwd for everybody',
    planted: { 'etc/passwd': { text: 'root:x:0:0::/:/bin/sh\n', mode: 0o666 } },
    found: ['writable-by-all /etc/passwd'],
  },
];

const OPEN_GATE = `${SYSTEM}/ssh.service.d/10-holdfast.conf`;
const GATES: readonly Plant[] = [
  {
    name: 'an emergency shell before the gate',
    planted: { [`${SYSTEM}/emergency.service.d/10-holdfast.conf`]: null },
    found: [`gate-unbound /${SYSTEM}/emergency.service`],
  },
  {
    name: 'an agent that nothing starts',
    planted: { [`${WANTS}/holdfast-agent.service`]: null },
    found: [`agent-not-enabled /${SYSTEM}/holdfast-agent.service`],
  },
  {
    name: 'no agent',
    planted: { [`${SYSTEM}/holdfast-agent.service`]: null, [`${WANTS}/holdfast-agent.service`]: null },
    found: ['agent-missing '],
  },
  { name: 'no unit of a gate', planted: { [`${SYSTEM}/holdfast-quiet.service`]: null }, found: ['gate-missing '] },
  {
    name: 'a masked gate',
    planted: { 'etc/systemd/system/holdfast-open.service': { link: '/dev/null' } },
    found: ['gate-missing '],
  },
  {
    name: 'a gate that nothing starts',
    planted: {
      [`${WANTS}/holdfast-firstboot.service`]: null,
      [`${SYSTEM}/holdfast-open.service`]: '[Service]\nExecStart=/usr/bin/true\n',
    },
    found: [`gate-missing /${SYSTEM}/holdfast-firstboot.service`],
  },
  {
    name: 'a gate with a condition',
    planted: { [`${SYSTEM}/holdfast-quiet.service.d/a.conf`]: '[Unit]\nConditionPathExists=/x\n' },
    found: [`gate-conditional /${SYSTEM}/holdfast-quiet.service.d/a.conf:2`],
  },
  { name: 'ssh before the gate', planted: { [OPEN_GATE]: null }, found: [`gate-unbound /${SYSTEM}/ssh.service`] },
  {
    name: 'ssh bound without an order',
    planted: { [OPEN_GATE]: '[Unit]\nBindsTo=holdfast-open.service\n' },
    found: [`gate-unbound /${SYSTEM}/ssh.service`],
  },
  {
    name: 'a serial console before the gate',
    planted: { [`${SYSTEM}/serial-getty@.service.d/10-holdfast.conf`]: null },
    found: [`gate-unbound /${SYSTEM}/serial-getty@.service`],
  },
  {
    name: 'a network manager before the gate',
    planted: { [`${SYSTEM}/NetworkManager.service.d/10-holdfast.conf`]: null },
    found: [`gate-unbound /${SYSTEM}/NetworkManager.service`],
  },
  {
    name: 'a drop-in of the maker that takes the gate away',
    planted: { 'etc/systemd/system/ssh.service.d/10-holdfast.conf': '[Unit]\nAfter=network.target\n' },
    found: [`gate-unbound /${SYSTEM}/ssh.service`],
  },
];

export const PLANTS: readonly Plant[] = [
  ...ACCOUNTS,
  ...IDENTITY,
  ...KEYS,
  ...TOKENS,
  ...STORED,
  ...DOORS,
  ...SERVICES,
  ...PERMISSIONS,
  ...GATES,
];
