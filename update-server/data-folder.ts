/**
 * The server's data folder: where everything lies, that only one server uses it, and which sealing key opens it. The key
 * itself is never in it (a lab's is: a lab has nothing to protect but a tester's time); only its place is remembered.
 *
 *   db.sqlite · artifacts/ · transport/ · metadata/ · pki/ · online-keys.sealed · settings.json · endpoints.json · lab/ (labs only)
 */
import { createHash, randomBytes } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import * as v from 'valibot';
import type { Disk } from '../platform/disk.ts';
import { makeDirectoryDurably, writeDurably } from '../platform/durable-file.ts';
import { EXIT, Fault, systemErrorCode } from '../platform/fault.ts';
import { decodeSealingKey, encodeSealingKey, SEALING_KEY_BYTES } from '../platform/sealed-file.ts';

const KEY_FILE_CAP_BYTES = 4096;
const SETTINGS_CAP_BYTES = 64 * 1024;
const CREDENTIAL_NAME = 'holdfast-sealing-key';
const Settings = v.strictObject({ sealingKeyFile: v.pipe(v.string(), v.maxLength(4096)) });

export class DataFolder {
  readonly directory: string;
  readonly #lock: Server | undefined;

  private constructor(directory: string, lock: Server | undefined) {
    this.directory = directory;
    this.#lock = lock;
  }

  /** Makes the folder (0700) when it is not there. Fault `data-in-use` while another server runs on it. */
  static async open(disk: Disk, directory: string): Promise<DataFolder> {
    await disk.makeDirectory(directory);
    return new DataFolder(directory, await lockFolder(await realpath(directory)));
  }

  path(...parts: readonly string[]): string {
    return join(this.directory, ...parts);
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      if (this.#lock === undefined) resolve();
      else this.#lock.close(() => resolve());
    });
  }
}

/** A socket in Linux's abstract namespace: the kernel frees it with the process, however that ends. */
async function lockFolder(directory: string): Promise<Server | undefined> {
  if (process.platform !== 'linux') return undefined;
  const server = createServer((socket) => socket.destroy());
  const name = `\0holdfast-server-${createHash('sha256').update(directory).digest('hex').slice(0, 32)}`;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(systemErrorCode(error) === 'EADDRINUSE' ? inUse(directory) : error));
    server.listen(name, resolve);
  });
  return server.unref();
}

const inUse = (where: string): Fault =>
  new Fault({
    code: 'data-in-use',
    what: 'another server runs on this data folder',
    where,
    cure: 'Stop it first, or give this one a folder of its own.',
    exitStatus: EXIT.environment,
  });

export interface SealingKeyPlaces {
  /** --sealing-key. */
  readonly given: string | undefined;
  /** --keys. */
  readonly keysDirectory: string | undefined;
  /** $CREDENTIALS_DIRECTORY, as systemd sets it. */
  readonly credentialsDirectory: string | undefined;
  readonly lab: boolean;
}

export interface FoundSealingKey {
  readonly key: Uint8Array;
  /** Keeps its place for later starts. To be called once the key has opened something: a wrong one is not remembered. */
  remember(): Promise<void>;
}

/** The 32-byte sealing key. Faults: `sealing-key-missing`, `sealing-key-malformed`. */
export async function findSealingKey(
  disk: Disk,
  folder: DataFolder,
  places: SealingKeyPlaces,
): Promise<FoundSealingKey> {
  const settings = await readSettings(disk, folder);
  const labFile = places.lab ? folder.path('lab', 'sealing.key') : undefined;
  const credential = places.credentialsDirectory && join(places.credentialsDirectory, CREDENTIAL_NAME);
  const besideKeys = places.keysDirectory && join(places.keysDirectory, 'sealing.key');
  for (const path of [places.given, credential, besideKeys, settings?.sealingKeyFile, labFile]) {
    if (path === undefined || path === '') continue;
    const content = await disk.readFile(path, KEY_FILE_CAP_BYTES);
    if (content === undefined) {
      if (path === places.given) throw missing(`there is no file ${path}`);
      continue;
    }
    const key = decodeAt(path, content);
    // A credential is mounted anew by systemd at each start; only a file has a place worth remembering.
    const known = path === credential || path === settings?.sealingKeyFile;
    return { key, remember: async () => (known ? undefined : rememberKeyFile(disk, folder, path)) };
  }
  if (labFile === undefined) throw missing('no sealing key was given or found');
  return { key: await makeLabKey(disk, folder, labFile), remember: async () => undefined };
}

function decodeAt(path: string, content: Uint8Array): Uint8Array {
  try {
    return decodeSealingKey(content);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    throw new Fault({
      code: error.code,
      what: error.what,
      where: path,
      cure: error.cure,
      exitStatus: error.exitStatus,
    });
  }
}

async function makeLabKey(disk: Disk, folder: DataFolder, path: string): Promise<Uint8Array> {
  await makeDirectoryDurably(disk, folder.path('lab'));
  const key = new Uint8Array(randomBytes(SEALING_KEY_BYTES));
  await writeDurably(disk, path, encodeSealingKey(key));
  return key;
}

async function readSettings(disk: Disk, folder: DataFolder): Promise<v.InferOutput<typeof Settings> | undefined> {
  const path = folder.path('settings.json');
  const bytes = await disk.readFile(path, SETTINGS_CAP_BYTES);
  if (bytes === undefined) return undefined;
  try {
    return v.parse(Settings, JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch {
    throw new Fault({
      code: 'settings-damaged',
      what: 'the remembered settings are not readable',
      where: path,
      cure: 'Remove the file and give --sealing-key once.',
      exitStatus: EXIT.corrupt,
    });
  }
}

function rememberKeyFile(disk: Disk, folder: DataFolder, sealingKeyFile: string): Promise<void> {
  const text = `${JSON.stringify({ sealingKeyFile } satisfies v.InferOutput<typeof Settings>)}\n`;
  return writeDurably(disk, folder.path('settings.json'), Buffer.from(text));
}

const missing = (what: string): Fault =>
  new Fault({
    code: 'sealing-key-missing',
    what,
    cure: 'Give it with --sealing-key FILE, as the systemd credential holdfast-sealing-key, or as sealing.key beside --keys.',
    exitStatus: EXIT.input,
  });
