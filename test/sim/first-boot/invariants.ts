/** What must hold of a device's credentials: after every cut, at every rest, and over its whole life. */
import type { FirstBootRecord } from '../../../agent/first-boot/first-boot-record.ts';
import { decodeCopy } from '../../../platform/two-copy-record.ts';
import type { SimulatedDisk } from '../simulated-disk.ts';
import {
  APPLICATION,
  type Boot,
  CREDENTIALS,
  contentsOf,
  DIRECTORY,
  fileNames,
  hashOf,
  IDENTITY,
  KEPT,
  type Mounts,
  openEscrow,
  RESET_REQUEST,
} from './world.ts';

export class InvariantBroken extends Error {
  override readonly name = 'InvariantBroken';
}

function demand(holds: boolean, what: string): void {
  if (!holds) throw new InvariantBroken(what);
}

const decode = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : new TextDecoder().decode(bytes);

/** The record as its reader will find it; undefined when there is none. */
export function recordOn(disk: SimulatedDisk): FirstBootRecord | undefined {
  const copies = [0, 1].map((copy) => disk.contentOf(`${DIRECTORY}/record.${copy}`)?.bytes);
  const whole = copies.map((bytes) => bytes && decodeCopy(bytes)).filter((copy) => copy !== undefined);
  const newest = whole.sort((x, y) => Number(y.generation - x.generation))[0];
  return newest === undefined ? undefined : JSON.parse(new TextDecoder().decode(newest.payload));
}

/** Of one device, from cut to cut: which value an epoch had, and how high it counted. */
export class History {
  readonly #values: Map<string, string>;
  #highest: number;

  constructor(values: ReadonlyMap<string, string> = new Map(), highest = 0) {
    this.#values = new Map(values);
    this.#highest = highest;
  }

  branch(): History {
    return new History(this.#values, this.#highest);
  }

  /** What is on the data partition, and would be in effect once it is bound. Throws for what may never be. */
  see(disk: SimulatedDisk): void {
    for (const kind of CREDENTIALS) {
      for (const name of fileNames(kind)) {
        const content = decode(disk.contentOf(`/data/own/${name}`)?.bytes);
        if (content === undefined) continue;
        const epoch = Number(content.split(' ')[0]);
        const key = `${name} in epoch ${epoch}`;
        const former = this.#values.get(key);
        demand(former === undefined || former === content, `${key} had two values`);
        this.#values.set(key, content);
        if (kind.escrowed) demandRecoverable(disk, kind, epoch, content);
      }
    }
    const record = recordOn(disk);
    if (record === undefined) return;
    demand(record.epoch >= this.#highest, `the epoch fell from ${this.#highest} to ${record.epoch}`);
    this.#highest = record.epoch;
  }
}

function demandRecoverable(
  disk: SimulatedDisk,
  kind: (typeof CREDENTIALS)[number],
  epoch: number,
  content: string,
): void {
  const blob = disk.contentOf(`${DIRECTORY}/escrow-${epoch}`)?.bytes;
  demand(blob !== undefined, `${kind.name} of epoch ${epoch} is in effect and no escrow covers it`);
  const secret = openEscrow(blob ?? new Uint8Array(), epoch)?.get(kind.name);
  demand(secret !== undefined, `the escrow of epoch ${epoch} cannot be opened, or lacks ${kind.name}`);
  demand(contentsOf(kind, epoch, secret ?? '')[0] === content, `${kind.name} is not what was sealed in epoch ${epoch}`);
}

/** Whenever the record says that this boot is open: every secret in effect is this epoch's own. */
export function checkOpen(disk: SimulatedDisk, mounts: Mounts, bootId: string): void {
  const record = recordOn(disk);
  const isOpen = ['open', 'enrolled', 'reported'].includes(record?.state ?? '') && record?.opened?.bootId === bootId;
  if (record === undefined || !isOpen || record.owed.length > 0) return;
  for (const kind of CREDENTIALS) {
    for (const name of fileNames(kind)) {
      const epoch = Number(mounts.inEffect(name)?.split(' ')[0]);
      demand(epoch === record.epoch, `open in epoch ${record.epoch} with ${name} of epoch ${epoch}`);
    }
    const [first = '', second] = fileNames(kind).map((name) => mounts.inEffect(name)?.split(' ')[1] ?? '');
    demand(second === undefined || second === hashOf(first), `open with halves of ${kind.name} that do not fit`);
  }
  demand(
    inventoryEpochs(disk).join() === CREDENTIALS.map(() => record.epoch).join(),
    'the inventory is not of this epoch',
  );
}

/** What the agent would tell: empty when the file is torn. */
function inventoryEpochs(disk: SimulatedDisk): readonly number[] {
  try {
    const entries: readonly { epoch: number }[] = JSON.parse(
      decode(disk.contentOf(`${DIRECTORY}/inventory`)?.bytes) ?? '',
    );
    return entries.map(({ epoch }) => epoch);
  } catch {
    return [];
  }
}

/** At the end of a boot, however often it was cut. `epochBefore`: of the boot before. */
export function checkEnd(disk: SimulatedDisk, mounts: Mounts, boot: Boot, bootId: string, epochBefore: number): void {
  const record = recordOn(disk);
  demand(
    record?.state === 'open' && record.opened?.bootId === bootId && record.owed.length === 0,
    'it does not end open',
  );
  checkOpen(disk, mounts, bootId);
  const epoch = record?.epoch ?? 0;
  const exact = boot.renews ? epoch > epochBefore : epoch === epochBefore;
  demand(exact, `it ends in epoch ${epoch}, after ${epochBefore}`);
  const files = [...disk.files().keys()].filter((path) => path.startsWith(`${DIRECTORY}/`));
  const wanted = [`escrow-${epoch}`, 'inventory', 'record.0', 'record.1'].map((name) => `${DIRECTORY}/${name}`);
  demand(files.sort().join() === wanted.join(), `the folder holds ${files.join(', ')}`);
  demand(!disk.folders().some((path) => path.startsWith(`${DIRECTORY}/epoch-`)), 'a staging folder is left');
  demand(disk.contentOf(RESET_REQUEST) === undefined, 'the reset request is still there');
  for (const path of KEPT) demand(decode(disk.contentOf(path)?.bytes) === `kept: ${path}`, `${path} is not as it was`);
  if (boot.resets) demand(disk.contentOf(`${APPLICATION}/notes`) === undefined, 'application data outlived the reset');
  if (!boot.moves) return;
  for (const path of IDENTITY) demand(disk.contentOf(path) === undefined, `${path} of the other board is still there`);
  demand(record?.movedFrom !== null, 'it does not tell that it was moved');
}

/** The epoch that is sealed and not verified yet: a power cut alone never makes another one of it. */
export function sealedEpoch(disk: SimulatedDisk): number | undefined {
  const record = recordOn(disk);
  return ['escrowed', 'applied', 'verified'].includes(record?.state ?? '') ? record?.epoch : undefined;
}

export function checkGoesOn(disk: SimulatedDisk, begun: number | undefined): void {
  const epoch = recordOn(disk)?.epoch;
  demand(begun === undefined || epoch === begun, `what was sealed in epoch ${begun} was not applied, but made anew`);
}

/** A secret as text, anywhere but in the files of a consumer that wants it so. */
export function checkNoPlaintext(disk: SimulatedDisk, drawn: readonly string[]): void {
  const mayHold = CREDENTIALS.filter(({ form }) => form !== 'hash').flatMap(fileNames);
  for (const [path, bytes] of disk.contents()) {
    const name = path
      .slice(path.lastIndexOf('/') + 1)
      .replace(/\.new$/, '')
      .replace(/^[^.]+%3A[^.]+\.|^access-point-passphrase\.(?=.)/, '');
    if (mayHold.includes(name)) continue;
    const content = Buffer.from(bytes).toString('latin1');
    demand(!drawn.some((secret) => content.includes(secret)), `${path} holds a secret as text`);
  }
}
