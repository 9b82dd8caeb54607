import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  acknowledge,
  addEvent,
  DROPPED_CODE,
  decodeQueue,
  emptyQueue,
  encodeQueue,
  offerFirst,
  QUEUE_CAP_EVENTS,
  type ReportQueue,
} from '../../../../agent/reports/report-queue.ts';
import type { ReportEvent } from '../../../../protocol/device-api.ts';

const WHEN = { bootId: 'boot-1', atUnixMs: 1000 };
const notice = (code: string): ReportEvent => ({ kind: 'notice', code, detail: '' });
const progress = (doneBytes: number, actionId = 'act-1'): ReportEvent => ({
  kind: 'progress',
  actionId,
  sequence: 2,
  doneBytes,
  totalBytes: 99,
});
const state = (): ReportEvent => ({ kind: 'state', state: 'idle', actionId: null });
const confirmed = (): ReportEvent => ({
  kind: 'confirmed',
  actionId: 'act-1',
  sequence: 2,
  slot: 'b',
  version: '2.0.0',
});
const numbers = (queue: ReportQueue): number[] => queue.reports.map(({ reportSequence }) => reportSequence);
const fill = (queue: ReportQueue, count: number, event: () => ReportEvent): ReportQueue =>
  Array.from({ length: count }).reduce<ReportQueue>((grown) => addEvent(grown, event(), WHEN), queue);

describe('the report queue', () => {
  it('numbers events one after the other, from the last number on', () => {
    expect(numbers(fill(emptyQueue(41), 3, state))).toEqual([42, 43, 44]);
  });

  it('overwrites progress that nobody has seen by later progress of the same action, and of no other', () => {
    let queue = addEvent(addEvent(emptyQueue(0), progress(1), WHEN), progress(2), WHEN);
    expect(queue.reports.map(({ event }) => event)).toEqual([progress(2)]);
    queue = addEvent(queue, progress(3, 'act-2'), WHEN);
    expect(numbers(queue)).toEqual([1, 2]);
    queue = addEvent(offerFirst(queue, 64), progress(4, 'act-2'), WHEN);
    expect(numbers(queue)).toEqual([1, 2, 3]);
  });

  it('drops progress and state first when full, says how many, and leaves no gap in the numbers', () => {
    let queue = fill(addEvent(emptyQueue(0), confirmed(), WHEN), QUEUE_CAP_EVENTS + 20, state);
    queue = addEvent(queue, notice('kept'), WHEN);
    expect(queue.reports).toHaveLength(QUEUE_CAP_EVENTS);
    expect(numbers(queue)).toEqual(Array.from({ length: QUEUE_CAP_EVENTS }, (_, index) => index + 1));
    expect(queue.last).toBe(QUEUE_CAP_EVENTS);
    const events = queue.reports.map(({ event }) => event);
    expect(events).toContainEqual(confirmed());
    expect(events).toContainEqual(notice('kept'));
    expect(events.filter((event) => event.kind === 'notice' && event.code === DROPPED_CODE)).toEqual([
      { kind: 'notice', code: DROPPED_CODE, detail: '23 events were dropped, because the queue was full' },
    ]);
  });

  it('drops words before deeds, and never what may have been sent', () => {
    let queue = offerFirst(fill(emptyQueue(0), 64, state), 64);
    queue = fill(queue, 300, confirmed);
    expect(numbers(queue).slice(0, 64)).toEqual(Array.from({ length: 64 }, (_, index) => index + 1));
    expect(queue.reports.slice(0, 64).every(({ event }) => event.kind === 'state')).toBe(true);
    expect(queue.reports).toHaveLength(QUEUE_CAP_EVENTS);
  });

  it('forgets what is acknowledged and keeps the rest', () => {
    const queue = offerFirst(fill(emptyQueue(0), 5, state), 64);
    expect(numbers(acknowledge(queue, 3).queue)).toEqual([4, 5]);
    expect(acknowledge(queue, 0).queue.reports).toHaveLength(5);
  });

  it('goes on after the number that the server has, when this device forgot its own', () => {
    const { queue, jumped } = acknowledge(offerFirst(fill(emptyQueue(0), 3, state), 64), 900);
    expect(jumped).toBe(true);
    expect(numbers(queue)).toEqual([901, 902, 903]);
    expect(queue.last).toBe(903);
  });

  it('does not believe a number that no device could have counted to', () => {
    const queue = offerFirst(fill(emptyQueue(0), 3, state), 64);
    expect(acknowledge(queue, Number.MAX_SAFE_INTEGER)).toEqual({ queue, jumped: false });
  });

  it('never gives the server a number twice for two events, nor a gap, whatever happens', () => {
    const step = fc.oneof(
      fc.constantFrom<ReportEvent>(state(), progress(5), progress(9, 'act-2'), notice('n'), confirmed()),
      fc.constant('send' as const),
      fc.record({ fraction: fc.double({ min: 0, max: 1, noNaN: true }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 700 }), (steps) => {
        let queue = emptyQueue(0);
        const seen = new Map<number, string>();
        for (const one of steps) {
          if (one === 'send') {
            queue = offerFirst(queue, 64);
            for (const { reportSequence, event } of queue.reports.slice(0, 64)) {
              const text = JSON.stringify(event);
              expect(seen.get(reportSequence) ?? text).toBe(text);
              seen.set(reportSequence, text);
            }
          } else if ('fraction' in one) {
            queue = acknowledge(queue, Math.floor(queue.offered * one.fraction)).queue;
          } else {
            queue = addEvent(queue, one, WHEN);
          }
          const decoded = decodeQueue(encodeQueue(queue));
          expect(decoded).toEqual({ last: queue.last, offered: queue.offered, reports: queue.reports });
        }
        const sent = [...seen.keys()].sort((a, b) => a - b);
        expect(sent).toEqual(Array.from({ length: sent.length }, (_, index) => index + 1));
      }),
      { numRuns: 60 },
    );
  });

  it('is not decoded from a file whose numbers do not follow one another', () => {
    const queue = fill(emptyQueue(0), 3, state);
    const [first, , third] = queue.reports;
    expect(decodeQueue(encodeQueue({ ...queue, reports: first && third ? [first, third] : [] }))).toBeUndefined();
    expect(decodeQueue(encodeQueue({ ...queue, last: 9 }))).toBeUndefined();
    expect(decodeQueue(new TextEncoder().encode('{"format":'))).toBeUndefined();
  });
});
