/**
 * The secrets that a careless factory leaves in every image of the demo product: passwords of the classic list, an SSH host
 * key and a machine-id that all devices share, the login key of the factory's support, a password for the broker. They are
 * here to be replaced at the first boot. None of them is a secret: all of it is made from what stands in this file.
 */
import { createHash, createPrivateKey, createPublicKey } from 'node:crypto';
import { type ImageFile, madeFile } from './image-tree.ts';

/** Each is in protocol/factory-pairs.ts. The hashes: openssl passwd -6 -salt acmefactory xc3511, -salt acmesupport support. */
const PASSWORDS = [
  'root:$6$acmefactory$jORaNcG5OeOvHopw7z6MF1iFabTLhFHj2RfkMmN4ghaap2ezVhSyzNACHwSkjE2P5IfUwik.rvp.98RztjWRJ1',
  'support:$6$acmesupport$wtXu2drMBXyPgfLp6yr2KLn48at7.u.bymbaXF.y7eIqTlqat/tDJ3QsPUiKty2A/olHRwj.O63pD184OTIfV1',
  'camera:!',
] as const;
const ACCOUNTS = `root:x:0:0:root:/root:/bin/sh
support:x:1000:1000:factory support:/home/support:/bin/sh
camera:x:900:900:the app:/nonexistent:/usr/sbin/nologin
`;
const GROUPS = 'root:x:0:\nsupport:x:1000:\ncamera:x:900:\n';
const HOST_KEY = 'the host key of every acme-cam';
const LOGIN_KEY = 'the login key of the support of acme';
export const FACTORY_MACHINE_ID = 'ac'.repeat(16);
export const FACTORY_BROKER_PASSWORD = 'acme-camera-2024';
export const BROKER_FILE = '/etc/acme/broker.conf';
const BROKER_TEMPLATE = '/usr/lib/acme/broker.conf.in';
const brokerText = (password: string): string => `url=mqtts://broker.acme.example\nuser=camera\npassword=${password}\n`;

/** What agent.json says that a device with such an image replaces (`firstBoot.providers`). */
export const DEMO_PROVIDERS = {
  unixPasswords: { breakGlass: 'root' },
  templates: [
    {
      name: 'broker',
      kind: 'mqtt-password',
      escrow: true,
      files: [{ template: BROKER_TEMPLATE, path: BROKER_FILE, owner: 'camera', group: 'camera' }],
    },
  ],
} as const;

export function factorySecretFiles(): ImageFile[] {
  const host = keyPair(HOST_KEY);
  return [
    madeFile('/etc/passwd', ACCOUNTS),
    madeFile('/etc/group', GROUPS),
    madeFile('/etc/shadow', PASSWORDS.map((start) => `${start}:19000:0:99999:7:::\n`).join(''), 0o640),
    madeFile('/etc/machine-id', `${FACTORY_MACHINE_ID}\n`, 0o444),
    madeFile('/etc/ssh/ssh_host_ed25519_key', host.privateText, 0o600),
    madeFile('/etc/ssh/ssh_host_ed25519_key.pub', `${host.publicLine}\n`),
    madeFile('/root/.ssh/authorized_keys', `${factoryLoginKeyLine()} support\n`, 0o600),
    madeFile(BROKER_TEMPLATE, brokerText('{{password}}')),
    madeFile(BROKER_FILE, brokerText(FACTORY_BROKER_PASSWORD), 0o600),
  ];
}

export const factoryHostKeyLine = (): string => keyPair(HOST_KEY).publicLine;
export const factoryLoginKeyLine = (): string => keyPair(LOGIN_KEY).publicLine;

/** RFC 8410: everything of an Ed25519 private key in DER but its seed. */
const ED25519_PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');

/** Ed25519, as `ssh-keygen` writes it, always the same for the same words. Format: PROTOCOL.key of OpenSSH. */
function keyPair(words: string): { privateText: string; publicLine: string } {
  const seed = createHash('sha256').update(words).digest();
  const key = createPrivateKey({ key: Buffer.concat([ED25519_PKCS8, seed]), format: 'der', type: 'pkcs8' });
  const point = createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32);
  const blob = Buffer.concat([field('ssh-ed25519'), field(point)]);
  const check = seed.subarray(0, 4);
  const secret = [check, check, field('ssh-ed25519'), field(point), field(Buffer.concat([seed, point])), field('')];
  const length = secret.reduce((sum, part) => sum + part.length, 0);
  const padding = Uint8Array.from({ length: (8 - (length % 8)) % 8 }, (_, at) => at + 1);
  const head = [Buffer.from('openssh-key-v1\0'), field('none'), field('none'), field(''), Buffer.from([0, 0, 0, 1])];
  const whole = Buffer.concat([...head, field(blob), field(Buffer.concat([...secret, padding]))]);
  const lines = whole.toString('base64').match(/.{1,70}/g) ?? [];
  return {
    privateText: ['-----BEGIN OPENSSH PRIVATE KEY-----', ...lines, '-----END OPENSSH PRIVATE KEY-----', ''].join('\n'),
    publicLine: `ssh-ed25519 ${blob.toString('base64')}`,
  };
}

function field(content: string | Uint8Array): Buffer {
  const bytes = Buffer.from(content);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
