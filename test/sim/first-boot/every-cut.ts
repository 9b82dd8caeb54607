/**
 * The life, cut at every operation of every boot, and every recovery cut again at each of its operations: all pairs.
 *
 * Disks that are equal to a device are recovered from once, and that one run stands for all of them. Equal leaves out how
 * far the record's generations have counted, and nothing else.
 */
import { createHash } from 'node:crypto';
import { decodeCopy } from '../../../platform/two-copy-record.ts';
import { type CutPolicy, type SimulatedDisk, seededRandom } from '../simulated-disk.ts';
import { checkEnd, checkGoesOn, checkNoPlaintext, checkOpen, History, recordOn, sealedEpoch } from './invariants.ts';
import { type Boot, bootDevice, factoryDisk, LIFE } from './world.ts';

export interface Campaign {
  readonly seed: number;
  /** Of the second cuts, chosen by the seed: 1 for all pairs. */
  readonly share: number;
  /** Which share of the first cuts. */
  readonly first?: number;
  /** Told of every disk whose life begins: a removal takes its sync away there. */
  readonly alter?: (disk: SimulatedDisk) => void;
  readonly progress?: (line: string) => void;
}

export interface Counts {
  operations: number;
  cuts: number;
  pairs: number;
  /** Recoveries that ran; the other cuts left a disk equal to one of theirs. */
  recoveries: number;
}

/** A rule was broken; says where, so that it can be found again. */
export class CutFailed extends Error {
  override readonly name = 'CutFailed';
}

interface Cut {
  readonly what: string;
  readonly number: number;
  readonly disk: SimulatedDisk;
  readonly history: History;
}

/** Drawn twice where it was the first cut: what is torn differs from draw to draw. */
const FIRST: readonly CutPolicy[] = ['drop', 'keep', 'random', 'random'];
const SECOND: readonly CutPolicy[] = ['drop', 'keep', 'random'];

function keyOf(disk: SimulatedDisk): string {
  const lines: string[] = disk.folders().sort();
  const generations: bigint[] = [];
  for (const [path, { bytes }] of [...disk.files()].sort(([x], [y]) => (x < y ? -1 : 1))) {
    const copy = path.includes('/record.') ? decodeCopy(bytes) : undefined;
    if (copy !== undefined) generations.push(copy.generation);
    lines.push(
      `${path} ${createHash('sha256')
        .update(copy?.payload ?? bytes)
        .digest('hex')}`,
    );
  }
  return `${lines.join('\n')}\n${generations.map((one) => generations.filter((other) => other < one).length).join()}`;
}

export class EveryCut {
  readonly counts: Counts = { operations: 0, cuts: 0, pairs: 0, recoveries: 0 };
  readonly #campaign: Campaign;
  /** By boot and key of a disk that a first cut left: how many second cuts its recovery had. */
  readonly #first = new Map<string, number>();
  /** Boots and keys of disks that were recovered from. */
  readonly #recovered = new Set<string>();

  constructor(campaign: Campaign) {
    this.#campaign = campaign;
  }

  /** Throws CutFailed at the first rule that is broken. */
  async run(): Promise<Counts> {
    let disk = await factoryDisk();
    const history = new History();
    const choose = seededRandom(this.#campaign.seed * 6151);
    for (const boot of LIFE) {
      const epochBefore = recordOn(disk)?.epoch ?? 0;
      await boot.before?.(disk);
      const cuts = await this.#live(disk, boot, history, { times: 0, epochBefore, policies: FIRST, first: 0 });
      this.counts.operations += disk.operations;
      for (const cut of cuts) {
        if (choose() >= (this.#campaign.first ?? 1)) continue;
        this.counts.cuts += 1;
        await this.#recover(cut, boot, epochBefore);
      }
      this.#campaign.progress?.(`${boot.name}: ${disk.operations} operations, ${JSON.stringify(this.counts)}`);
      disk = disk.cut('drop');
    }
    return this.counts;
  }

  async #recover(cut: Cut, boot: Boot, epochBefore: number): Promise<void> {
    const key = `${boot.name}\n${keyOf(cut.disk)}`;
    const known = this.#first.get(key);
    if (known !== undefined) {
      this.counts.pairs += known;
      return;
    }
    const settings = { times: 1, epochBefore, policies: SECOND, first: cut.number };
    const again = await this.#live(cut.disk, boot, cut.history, settings, cut.what);
    this.#first.set(key, again.length);
    this.#recovered.add(key);
    this.counts.recoveries += 1;
    this.counts.pairs += again.length;
    for (const second of again) {
      const secondKey = `${boot.name}\n${keyOf(second.disk)}`;
      if (this.#recovered.has(secondKey)) continue;
      this.#recovered.add(secondKey);
      this.counts.recoveries += 1;
      const last = { times: 2, epochBefore, policies: [], first: 0 };
      await this.#live(second.disk, boot, second.history, last, `${cut.what}; then ${second.what}`);
    }
  }

  /** One boot on this disk to its end, checked all the way; what it leaves at each cut. */
  async #live(
    disk: SimulatedDisk,
    boot: Boot,
    history: History,
    {
      times,
      epochBefore,
      policies,
      first,
    }: { times: number; epochBefore: number; policies: readonly CutPolicy[]; first: number },
    after = '',
  ): Promise<Cut[]> {
    const { seed, share, alter } = this.#campaign;
    const cuts: Cut[] = [];
    const choose = seededRandom(seed * 7919 + first);
    const bootId = `boot ${boot.name} ${times}`;
    const running = bootDevice(disk, boot, { bootId, seed: `${seed} ${keyOf(disk)}` });
    const begun = sealedEpoch(disk);
    let at = 'its begin';
    disk.operations = 0;
    alter?.(disk);
    disk.afterOperation = ({ number, text }) => {
      at = `operation ${number} (${text})`;
      checkOpen(disk, running.mounts, bootId);
      for (const [draw, policy] of policies.entries()) {
        if (times > 0 && choose() >= share) continue;
        const random = seededRandom(seed * 31 + first * 100_003 + number * 17 + draw);
        const found = disk.cut(policy, random);
        const branch = history.branch();
        const what = `cut ${number} (${policy}: ${text})`;
        see(branch, found, `${boot.name}, ${after} ${what}`);
        checkNoPlaintext(found, running.drawn);
        cuts.push({ what, number, disk: found, history: branch });
      }
    };
    try {
      const rest = await running.run();
      if (rest.rest !== 'open') throw new Error(`blocked: ${JSON.stringify(rest.trouble)}`);
      // What a power cut at this rest would leave is as good as what is seen.
      const left = disk.cut('drop');
      history.see(left);
      checkEnd(left, running.mounts, boot, bootId, epochBefore);
      checkGoesOn(left, begun);
      checkNoPlaintext(left, running.drawn);
    } catch (error) {
      if (error instanceof CutFailed) throw error;
      throw new CutFailed(
        `${boot.name}, ${after || 'no cut'}, at ${at}: ${String(error instanceof Error ? error.message : error)}`,
      );
    } finally {
      disk.afterOperation = () => {};
    }
    return cuts;
  }
}

function see(history: History, disk: SimulatedDisk, where: string): void {
  try {
    history.see(disk);
  } catch (error) {
    throw new CutFailed(`${where}: ${error instanceof Error ? error.message : error}`);
  }
}
