/**
 * The keys of a lab server, made at its first start and kept sealed in its data folder: one key for the root, one for
 * targets, one author for every class. That is no ceremony, and every file signed with them says so: `environment: lab`,
 * which a device with a production root refuses. The one place of the server that may use keys/.
 */
import * as v from 'valibot';
import { draftRoot, emptyTargets } from '../../keys/root-draft.ts';
import type { RawPrivateKey, SigningKey } from '../../keys/signing-key.ts';
import { generateRawKey, softwareKey } from '../../keys/signing-key.ts';
import { signMetadata } from '../../keys/tuf-signing.ts';
import type { Disk } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { openSealed, SEALED_FILE_CAP_BYTES, sealBytes } from '../../platform/sealed-file.ts';
import { hex, unhex, utf8 } from '../../trust/bytes.ts';
import type { ServerCeremony } from '../repository/import-ceremony.ts';
import { ONLINE_KEYS_CONTEXT } from '../repository/online-keys.ts';

const LAB_KEYS_CONTEXT = 'holdfast lab keys 1';
const ROLES = ['root', 'targets', 'author', 'snapshot', 'timestamp'] as const;
type LabRole = (typeof ROLES)[number];

const Half = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const Pair = v.strictObject({ publicKey: Half, privateKey: Half });
const LabKeysFile = v.strictObject({ root: Pair, targets: Pair, author: Pair, snapshot: Pair, timestamp: Pair });
type LabKeysFile = v.InferOutput<typeof LabKeysFile>;

export interface LabKeys {
  readonly root: SigningKey;
  readonly targets: SigningKey;
  readonly author: SigningKey;
}

/** Opens the lab's keys, or makes them. Faults: `sealing-key-wrong`, `lab-keys-malformed`. */
export async function openLabKeys(disk: Disk, path: string, sealingKey: Uint8Array): Promise<LabKeys> {
  const file = await readOrMake(disk, path, sealingKey);
  const open = (role: LabRole, use: 'tuf' | 'author'): SigningKey => {
    const secret = unhex(file[role].privateKey) ?? new Uint8Array();
    const publicKey = unhex(file[role].publicKey) ?? new Uint8Array();
    const key = softwareKey(use, { algorithm: 'ed25519', secret, publicKey });
    if (key === undefined) throw malformed(path);
    return key;
  };
  return { root: open('root', 'tuf'), targets: open('targets', 'tuf'), author: open('author', 'author') };
}

/** What a ceremony would have brought: the first root and targets of this lab, and its sealed online keys. */
export async function makeLabCeremony(
  disk: Disk,
  path: string,
  sealingKey: Uint8Array,
  nowUnixS: number,
): Promise<ServerCeremony> {
  const file = await readOrMake(disk, path, sealingKey);
  const keys = await openLabKeys(disk, path, sealingKey);
  const publicKey = (role: LabRole): Uint8Array => unhex(file[role].publicKey) ?? new Uint8Array();
  const root = draftRoot({
    environment: 'lab',
    roleKeys: {
      root: [publicKey('root')],
      targets: [publicKey('targets')],
      snapshot: [publicKey('snapshot')],
      timestamp: [publicKey('timestamp')],
    },
    thresholds: { root: 1, targets: 1 },
    authors: [{ algorithm: 'ed25519', publicKey: publicKey('author'), hardwareClasses: ['*'] }],
    nowUnixS,
  });
  const online = { snapshot: file.snapshot, timestamp: file.timestamp };
  return {
    root: await signMetadata(root, [keys.root]),
    targets: await signMetadata(emptyTargets(nowUnixS), [keys.targets]),
    sealedOnlineKeys: sealBytes(sealingKey, utf8(JSON.stringify(online)), ONLINE_KEYS_CONTEXT),
  };
}

async function readOrMake(disk: Disk, path: string, sealingKey: Uint8Array): Promise<LabKeysFile> {
  const sealed = await disk.readFile(path, SEALED_FILE_CAP_BYTES);
  if (sealed === undefined) return makeKeys(disk, path, sealingKey);
  const plaintext = openSealed(sealingKey, sealed, LAB_KEYS_CONTEXT);
  try {
    return v.parse(LabKeysFile, JSON.parse(Buffer.from(plaintext).toString('utf8')));
  } catch {
    throw malformed(path);
  }
}

async function makeKeys(disk: Disk, path: string, sealingKey: Uint8Array): Promise<LabKeysFile> {
  const pair = ({ publicKey, secret }: RawPrivateKey) => ({ publicKey: hex(publicKey), privateKey: hex(secret) });
  const pairs = Object.fromEntries(ROLES.map((role) => [role, pair(generateRawKey('ed25519'))]));
  const file = v.parse(LabKeysFile, pairs);
  await writeDurably(disk, path, sealBytes(sealingKey, utf8(JSON.stringify(file)), LAB_KEYS_CONTEXT));
  return file;
}

const malformed = (where: string): Fault =>
  new Fault({
    code: 'lab-keys-malformed',
    what: 'what was sealed is not the set of keys of a lab',
    where,
    cure: 'Start a new lab in another data folder; its devices need its new root.',
    exitStatus: EXIT.corrupt,
  });
