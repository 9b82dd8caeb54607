/** What a simulated device wrote down and reported in whole updates, replayed through the tables. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { replay } from '../../../cli/replay/decisions.ts';
import { replayReported } from '../../../cli/replay/reported.ts';
import type { ReportEvent } from '../../../protocol/device-api.ts';
import { decodeHistory, type HistoryEntry } from '../../../protocol/history.ts';
import { describeReport } from '../../../update-server/core/update-state.ts';
import { MemorySource, TestMaker } from '../../sim/release-fixture.ts';
import { makeFactoryDevice, SimulatedDevice, STATE } from '../../sim/simulated-device.ts';
import { SimulatedDisk } from '../../sim/simulated-disk.ts';
import { runHoldfast } from './run-holdfast.ts';

const V1 = { rootfs: new Uint8Array(1_500_000).fill(1) };
const V2 = { rootfs: new Uint8Array(1_500_000).fill(2) };

interface Lived {
  readonly disk: SimulatedDisk;
  readonly events: readonly ReportEvent[];
  readonly entries: readonly HistoryEntry[];
}

async function liveThrough(healthy: boolean): Promise<Lived> {
  const maker = new TestMaker();
  const disk = new SimulatedDisk();
  await makeFactoryDevice(disk, V1, maker.factoryRoot);
  const device = new SimulatedDevice(disk, new MemorySource(maker));
  device.healthy = (slot) => healthy || slot === 'a';
  await device.runToRest(maker.release({ sequence: 2, version: '2.0.0', images: V2 }));
  const text = new TextDecoder().decode(disk.contents().get(`${STATE}/history`));
  return { disk, events: device.events, entries: decodeHistory(text).entries };
}

const course = (steps: readonly { readonly state: string }[]) => [...new Set(steps.map(({ state }) => state))];
const reported = (events: readonly ReportEvent[]) =>
  events
    .map((event, index) => ({
      atUnixMs: index,
      reportSequence: index + 1,
      kind: event.kind,
      text: describeReport(event),
    }))
    .toReversed();

describe("a device's own words", () => {
  it('follow from the tables, from the offer to the seal', async () => {
    const steps = replay((await liveThrough(true)).entries);
    expect(steps.filter(({ disagreement }) => disagreement !== '')).toEqual([]);
    const states = [
      'idle',
      'checking',
      'downloading',
      'verifying',
      'staged',
      'armed',
      'trial',
      'confirming',
      'sealing',
    ];
    expect(course(steps)).toEqual(states);
    expect(steps.at(-1)).toMatchObject({ before: 'sealing', cause: 'sealed', state: 'idle', effects: ['settle'] });
  });

  it('tell a rollback, with its reason', async () => {
    const steps = replay((await liveThrough(false)).entries);
    expect(steps.filter(({ disagreement }) => disagreement !== '')).toEqual([]);
    expect(steps).toContainEqual(
      expect.objectContaining({ before: 'trial', cause: 'health-failed', state: 'rolling-back' }),
    );
    expect(steps.find(({ cause }) => cause === 'health-failed')?.why).toContain('10-app');
  });

  it('are contradicted where a step does not follow, a line is missing, or an event is unknown', async () => {
    const { entries } = await liveThrough(true);
    const at = entries.findIndex((entry) => entry.kind === 'event' && entry.event === 'written');
    const wrong = entries.map((entry, index) => (index === at ? { ...entry, state: 'armed' as const } : entry));
    expect(replay(wrong)[at]?.disagreement).toBe('these tables say state verifying');
    const gapped = entries.filter((_, index) => index !== at);
    expect(replay(gapped)[at]?.disagreement).toContain('a gap');
    const strange = entries.map((entry, index) => (index === at ? { ...entry, event: 'teleported' } : entry));
    expect(replay(strange as HistoryEntry[])[at]?.disagreement).toContain('no such event');
    const first = entries[0];
    if (first?.kind !== 'start') throw new Error('a history begins with a start');
    expect(replay([{ ...first, rule: 'trial-begins' }])[0]?.disagreement).toContain('at-rest');
  });
});

describe('what the server heard', () => {
  it('is explained step by step, a rollback by its own report', async () => {
    const good = replayReported(reported((await liveThrough(true)).events));
    expect(good.filter(({ disagreement }) => disagreement !== '')).toEqual([]);
    expect(good.find(({ before }) => before === 'downloading')).toMatchObject({ cause: 'written', state: 'verifying' });
    const bad = replayReported(reported((await liveThrough(false)).events));
    expect(bad.filter(({ disagreement }) => disagreement !== '')).toEqual([]);
    expect(bad.at(-1)).toMatchObject({ before: 'rolling-back', cause: 'back', state: 'idle' });
    expect(bad.at(-1)?.why).toContain('10-app');
  });

  it('shows where reports are missing', async () => {
    const { events } = await liveThrough(true);
    const gapped = events.filter((event) => !(event.kind === 'state' && event.state === 'verifying'));
    const steps = replayReported(reported(gapped));
    expect(steps.map(({ disagreement }) => disagreement).filter((text) => text !== '')).toEqual([
      'nothing leads from downloading to staged: reports are missing',
    ]);
  });
});

describe('holdfast replay', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'replay-'));
  });
  afterEach(() => rm(folder, { recursive: true }));
  const holdfast = (words: readonly string[]) => runHoldfast(words, { home: folder });

  async function copyOut({ disk }: Lived, more = ''): Promise<void> {
    for (const [path, bytes] of disk.contents()) {
      const name = path.slice(STATE.length + 1);
      if (!path.startsWith(`${STATE}/`) || name.includes('/')) continue;
      await writeFile(join(folder, name), name === 'history' ? Buffer.concat([bytes, Buffer.from(more)]) : bytes);
    }
  }

  it('reads a copy of a data directory: steps, a torn line, and where the device stands', async () => {
    await copyOut(await liveThrough(true), '{"kind":"ev');
    const ended = await holdfast(['replay', folder, '--json']);
    expect(ended.status).toBe(0);
    expect(JSON.parse(ended.stdout)).toMatchObject({
      ok: true,
      unread: 1,
      disagreements: 0,
      standing: { state: 'idle' },
    });
    const people = await holdfast(['replay', join(folder, 'history')]);
    expect(people.stdout).toContain('each as the tables say');
  });

  it('ends with status 4 when a step does not follow, and with a cure when there is nothing to read', async () => {
    const lived = await liveThrough(true);
    const line = { ...lived.entries.at(-1), before: 'idle', event: 'sealed', state: 'idle' };
    await copyOut(lived, `${JSON.stringify(line)}\n`);
    const ended = await holdfast(['replay', folder, '--json']);
    expect([ended.status, JSON.parse(ended.stdout).disagreements]).toEqual([4, 1]);
    await rm(join(folder, 'history'));
    const nothing = await holdfast(['replay', folder, '--json']);
    expect([nothing.status, JSON.parse(nothing.stdout)]).toMatchObject([3, { code: 'history-missing' }]);
    expect((await holdfast(['replay', join(folder, 'nowhere')])).stderr).toContain('[path-not-found]');
  });
});
