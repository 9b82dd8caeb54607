import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../../../agent/log.ts';
import { DurableReporter } from '../../../../agent/reports/durable-reporter.ts';
import { nodeDisk } from '../../../../platform/disk.ts';
import type { Report, ReportEvent } from '../../../../protocol/device-api.ts';
import { accept, refuse } from '../../../../trust/refusal.ts';
import { SimulatedDisk } from '../../../sim/simulated-disk.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'reports-'));
});
afterEach(() => rm(directory, { recursive: true }));

const clock = { wallUnixMs: () => 1000 };
const open = (bootId = 'boot-1') =>
  DurableReporter.open({ disk: nodeDisk, clock, log: silentLog, bootId }, join(directory, 'reports'));
const notice = (code: string): ReportEvent => ({ kind: 'notice', code, detail: '' });

/** A server that keeps what it is sent, in order, and acknowledges all of it. */
function server() {
  const kept: Report[] = [];
  return {
    kept,
    send: async (reports: readonly Report[]) => {
      kept.push(...reports);
      return accept({ acknowledged: reports.at(-1)?.reportSequence ?? 0 });
    },
  };
}

describe('the reporter', () => {
  it('keeps events and numbers over restarts, and sends them in batches until none waits', async () => {
    const first = await open();
    for (let index = 1; index <= 70; index += 1) await first.record(notice(`n${index}`));
    const second = await open('boot-2');
    await second.record(notice('last'));
    const { kept, send } = server();
    expect(await second.flush(send)).toMatchObject({ ok: true });
    expect(kept.map(({ reportSequence }) => reportSequence)).toEqual(
      Array.from({ length: 71 }, (_, index) => index + 1),
    );
    expect(kept.map(({ bootId }) => bootId).at(-1)).toBe('boot-2');
    expect(second.waiting).toBe(0);
    const third = await open('boot-3');
    await third.record(notice('after'));
    await third.flush(send);
    expect(kept.at(-1)?.reportSequence).toBe(72);
  });

  it('sends again what was not acknowledged, under the same numbers', async () => {
    const reporter = await open();
    await reporter.record(notice('one'));
    await expect(
      reporter.flush(async () => {
        throw new Error('cut');
      }),
    ).rejects.toThrow('cut');
    expect(await reporter.flush(async () => refuse('answer-malformed', 'no'))).toMatchObject({ ok: false });
    const { kept, send } = server();
    await (await open()).flush(send);
    expect(kept.map(({ reportSequence, event }) => [reportSequence, event])).toEqual([[1, notice('one')]]);
  });

  it('ends a flush that gets no further instead of turning for ever', async () => {
    const reporter = await open();
    await reporter.record(notice('one'));
    let calls = 0;
    await reporter.flush(async () => {
      calls += 1;
      return accept({ acknowledged: 0 });
    });
    expect(calls).toBe(1);
    expect(reporter.waiting).toBe(1);
  });

  it('takes events while a flush is under way', async () => {
    const reporter = await open();
    await reporter.record(notice('one'));
    const { kept, send } = server();
    await reporter.flush(async (reports) => {
      if (kept.length === 0) await reporter.record(notice('two'));
      return send(reports);
    });
    expect(kept.map(({ reportSequence }) => reportSequence)).toEqual([1, 2]);
  });

  it('sets a damaged queue aside, says so, and counts on without repeating a number', async () => {
    const reporter = await open();
    for (const code of ['one', 'two', 'three']) await reporter.record(notice(code));
    await writeFile(join(directory, 'reports/queue'), '{"format":"holdfast-reports-1","last":3,"of');
    const { kept, send } = server();
    await (await open()).flush(send);
    expect(kept).toHaveLength(1);
    expect(kept[0]).toMatchObject({ reportSequence: 4, event: { kind: 'notice', code: 'report-queue-damaged' } });
    expect(await readdir(join(directory, 'reports'))).toContain('queue.damaged');
  });

  it('starts when a bad block lies in the queue, and sets it aside as any damaged one', async () => {
    const disk = new SimulatedDisk();
    await disk.place('/data/reports/queue', new Uint8Array(300));
    disk.fault = ({ kind, path }) => (kind === 'read' && path === '/data/reports/queue' ? { code: 'EIO' } : undefined);
    const reporter = await DurableReporter.open({ disk, clock, log: silentLog, bootId: 'boot-1' }, '/data/reports');
    expect(reporter.waiting).toBe(1);
    expect([...disk.contents().keys()]).toContain('/data/reports/queue.damaged');
  });

  it('gives the number again when the power went between number and queue: nobody has seen it', async () => {
    const reporter = await open();
    await reporter.record(notice('one'));
    const before = await readFile(join(directory, 'reports/queue'));
    await reporter.record(notice('two'));
    await writeFile(join(directory, 'reports/queue'), before);
    const again = await open();
    await again.record(notice('two again'));
    const { kept, send } = server();
    await again.flush(send);
    expect(kept.map(({ reportSequence, event }) => [reportSequence, event])).toEqual([
      [1, notice('one')],
      [2, notice('two again')],
    ]);
  });
});
