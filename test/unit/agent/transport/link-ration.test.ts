/** What a metered link may carry, with the record on a simulated disk that forgets what was not synced. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MustWait, SourceUnreachable } from '../../../../agent/core/ports.ts';
import { budgetRecord } from '../../../../agent/storage/budget-record.ts';
import type { HttpRequest, Requester } from '../../../../agent/transport/https-channel.ts';
import { LinkRation } from '../../../../agent/transport/link-ration.ts';
import { askMetered } from '../../../../agent/transport/metered.ts';
import { RationedRequester } from '../../../../agent/transport/rationed-requester.ts';
import { accept } from '../../../../trust/refusal.ts';
import { SimulatedClock } from '../../../sim/simulated-device.ts';
import { SimulatedDisk } from '../../../sim/simulated-disk.ts';
import { ProgramsOnPath } from '../programs-on-path.ts';

const MIB = 1024 * 1024;
let disk: SimulatedDisk;
let clock: SimulatedClock;
let metered: boolean;

beforeEach(async () => {
  disk = new SimulatedDisk();
  await disk.makeDirectory('/data');
  await disk.syncDirectory('/');
  clock = new SimulatedClock();
  metered = true;
});

function ration(budget: { bytes: number; per: 'day' | 'month' } | null): LinkRation {
  return new LinkRation({
    disk,
    clock,
    stateDirectory: '/data',
    isMetered: async () => metered,
    budget,
    askEveryMs: 60_000,
  });
}

const BUDGET = { bytes: 8 * MIB, per: 'day' } as const;

/** How many claims of one MiB pass until it must wait. */
async function passing(link: LinkRation): Promise<number> {
  for (let count = 0; count < 100; count += 1) {
    try {
      await link.claim(MIB);
    } catch (error) {
      expect(error).toMatchObject({ reason: 'budget-spent', afterMs: 60_000 });
      return count;
    }
  }
  return 100;
}

describe('a link', () => {
  it('carries everything while it is not metered, and writes nothing', async () => {
    metered = false;
    expect(await passing(ration(BUDGET))).toBe(100);
    expect(await budgetRecord(disk, '/data').read()).toEqual({ found: 'absent' });
  });

  it('carries no image while it is metered and there is no budget; then by itself, once it is another', async () => {
    const link = ration(null);
    const refused = await link.claim(MIB).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(MustWait);
    expect(refused).toMatchObject({ reason: 'link-metered', afterMs: 60_000 });
    metered = false;
    await clock.sleep(60_000);
    expect(await link.claim(MIB)).toBeTypeOf('function');
  });

  it('carries the budget and not a byte more, also for transfers that begin at once', async () => {
    const link = ration(BUDGET);
    const claims = await Promise.allSettled(Array.from({ length: 12 }, () => link.claim(MIB)));
    expect(claims.filter(({ status }) => status === 'fulfilled')).toHaveLength(8);
  });

  it('begins anew with the next day', async () => {
    const link = ration(BUDGET);
    expect(await passing(link)).toBe(8);
    await clock.sleep(86_400_000);
    expect(await passing(link)).toBe(8);
  });

  it('never carries more than the budget, however often the power is cut; and loses a step to each cut at most', async () => {
    let carried = 0;
    for (let cuts = 0; cuts < 20; cuts += 1) {
      const link = ration(BUDGET);
      const claimed = await link.claim(MIB).catch(() => undefined);
      if (claimed !== undefined) carried += 1;
      disk = disk.cut('drop');
    }
    expect(carried).toBeLessThanOrEqual(8);
    expect(carried).toBeGreaterThanOrEqual(4);
  });

  it('is given back what did not arrive', async () => {
    const link = ration(BUDGET);
    for (let broken = 0; broken < 50; broken += 1) (await link.claim(MIB))(MIB);
    expect(await passing(link)).toBe(8);
  });

  it('writes its count seldom', async () => {
    const link = ration({ bytes: 3200 * MIB, per: 'month' });
    let writes = 0;
    let last = '';
    for (let claims = 0; claims < 1000; claims += 1) {
      await link.claim(MIB);
      const now = JSON.stringify(await budgetRecord(disk, '/data').read());
      if (now !== last) writes += 1;
      last = now;
    }
    expect(writes).toBeLessThanOrEqual(10);
  });
});

describe('the requests to a server', () => {
  const asked: HttpRequest[] = [];
  const server: Requester = {
    description: 'server',
    async request(request) {
      asked.push(request);
      if (request.path === '/cut') throw new SourceUnreachable('cut');
      return accept({ status: 200, headers: {}, body: new Uint8Array(10) });
    },
  };
  const image = (path: string): HttpRequest => ({
    method: 'GET',
    path,
    capBytes: MIB,
    into: { bytes: new Uint8Array(MIB), received: 0 },
  });

  it('wait when they are for images, and pass when they are not', async () => {
    const rationed = new RationedRequester(server, ration(null));
    await expect(rationed.request(image('/image'))).rejects.toBeInstanceOf(MustWait);
    await expect(rationed.request({ ...image('/pieces'), ofImage: true })).rejects.toBeInstanceOf(MustWait);
    expect((await rationed.request({ method: 'POST', path: '/poll', capBytes: MIB })).ok).toBe(true);
  });

  it('pay for what arrived, and look at the link again after a cut', async () => {
    let askedLink = 0;
    const link = new LinkRation({
      disk,
      clock,
      stateDirectory: '/data',
      isMetered: async () => {
        askedLink += 1;
        return true;
      },
      budget: BUDGET,
      askEveryMs: 1,
    });
    const rationed = new RationedRequester(server, link);
    for (let times = 0; times < 30; times += 1) await rationed.request(image('/image'));
    expect(askedLink).toBe(1);
    await expect(rationed.request(image('/cut'))).rejects.toBeInstanceOf(SourceUnreachable);
    await rationed.request(image('/image'));
    expect(askedLink).toBe(2);
  });
});

describe('NetworkManager', () => {
  let programs: ProgramsOnPath;
  beforeEach(async () => {
    programs = await ProgramsOnPath.make();
  });
  afterEach(() => programs.remove());

  it.each([
    ['u 1', true],
    ['u 3', true],
    ['u 2', false],
    ['u 4', false],
    ['u 0', undefined],
    ['no such bus', undefined],
  ])('%s: metered is %s', async (printed, expected) => {
    await programs.put(
      'busctl',
      `[ "$1 $2 $5" = "get-property org.freedesktop.NetworkManager Metered" ] && echo '${printed}'`,
    );
    expect(await askMetered()).toBe(expected);
  });

  it('that is not there says nothing', async () => {
    await programs.put('busctl', 'echo "Failed to get property" >&2; exit 1');
    expect(await askMetered()).toBeUndefined();
  });
});
