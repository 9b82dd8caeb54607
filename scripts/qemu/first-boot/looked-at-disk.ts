/** The disk of a device as raw bytes, and the files on its data partition. Of one that is on: what it has synced. */
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Ext4Places } from '../../byte-scan/ext4-places.ts';
import type { Secret } from '../../byte-scan/forms.ts';
import { opensshSecrets, pkcs8Secrets, textSecret } from '../../byte-scan/key-secrets.ts';
import { ByteScan, type Hit } from '../../byte-scan/scan.ts';
import { DATA, partitionOf } from '../../device-image/layout.ts';
import { needProgram } from '../../programs.ts';

const CHUNK_BYTES = 4 * 1024 * 1024;
/** On the data partition. What each holds is in plaintext because its consumer takes nothing else. */
export const CONSUMERS = {
  hostKey: '/holdfast/own/etc/ssh/ssh_host_ed25519_key',
  broker: '/holdfast/own/etc/acme/client.conf',
  /** Of the provider, which renders the template of the next image with it. */
  brokerRecord: '/holdfast/credentials/mqtt-password-broker.json',
  deviceKey: '/holdfast/identity/device.key',
  claim: '/factory/claim.json',
  /** Of the maker's own provider, which compares what is typed at its panel. */
  panel: '/holdfast/panel/pin',
} as const;

export interface PlacedHit extends Hit {
  /** A path on the data partition, `free`, or another partition's name. */
  readonly place: string;
}

export class LookedAtDisk {
  readonly #raw: string;
  readonly files: Ext4Places;

  private constructor(raw: string, files: Ext4Places) {
    this.#raw = raw;
    this.files = files;
  }

  /** `folder` is made, and holds copies of the whole disk until `end`. */
  static async of(disk: string, folder: string): Promise<LookedAtDisk> {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { mode: 0o700 });
    const raw = join(folder, 'raw');
    await needProgram('qemu-img', ['convert', '-U', '-O', 'raw', disk, raw]);
    const data = join(folder, 'data');
    await cutOut(raw, partitionOf(DATA), data);
    return new LookedAtDisk(raw, await Ext4Places.of(data, join(folder, 'replayed')));
  }

  /** What its consumers have in plaintext now, as this machine reads it. */
  async secrets(epoch: string): Promise<readonly Secret[]> {
    const text = async (path: string): Promise<string> => {
      const found = await this.files.read(path);
      if (found === undefined) throw new Error(`the device has no ${path}`);
      return found;
    };
    const broker = /^password (\S+)$/m.exec(await text(CONSUMERS.broker))?.[1] ?? '';
    const claim: { secret: string } = JSON.parse(await text(CONSUMERS.claim));
    return [
      ...opensshSecrets(`host key of ${epoch}`, await text(CONSUMERS.hostKey)),
      textSecret(`broker password of ${epoch}`, broker),
      ...pkcs8Secrets('device key', await text(CONSUMERS.deviceKey)),
      textSecret('claim', claim.secret),
    ];
  }

  /** Every byte of the disk: all partitions, free blocks, and what lies between them. */
  async scan(secrets: readonly Secret[]): Promise<readonly PlacedHit[]> {
    const hits = await new ByteScan(secrets).file(this.#raw);
    const { startBytes, sizeBytes } = partitionOf(DATA);
    const isInData = ({ offsetBytes }: Hit): boolean =>
      offsetBytes >= startBytes && offsetBytes < startBytes + sizeBytes;
    const places = await this.files.at(hits.filter(isInData).map(({ offsetBytes }) => offsetBytes - startBytes));
    return hits.map((hit) => {
      if (!isInData(hit)) return { ...hit, place: `outside of the data partition, at ${hit.offsetBytes}` };
      return { ...hit, place: places.get(hit.offsetBytes - startBytes) ?? 'free' };
    });
  }
}

async function cutOut(
  from: string,
  { startBytes, sizeBytes }: { readonly startBytes: number; readonly sizeBytes: number },
  to: string,
): Promise<void> {
  const [source, target] = [await open(from, 'r'), await open(to, 'wx', 0o600)];
  try {
    await target.truncate(sizeBytes);
    const buffer = Buffer.alloc(CHUNK_BYTES);
    for (let at = 0; at < sizeBytes; at += buffer.length) {
      const { bytesRead } = await source.read(buffer, 0, Math.min(buffer.length, sizeBytes - at), startBytes + at);
      await target.write(buffer, 0, bytesRead, at);
    }
  } finally {
    await Promise.all([source.close(), target.close()]);
  }
}
