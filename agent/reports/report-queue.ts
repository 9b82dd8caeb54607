/**
 * What is queued, as data, and every change to it as a pure function. report-queue.ts decides; durable-reporter.ts writes.
 *
 * Numbers: each event has the next number when it is recorded. Up to `offered` they may have reached the server and stand
 * for ever; beyond it nobody has seen them, so that dropping one closes the gap by renumbering. The server therefore
 * sees numbers that neither repeat nor skip, however full the queue was.
 */
import * as v from 'valibot';
import { Report, type ReportEvent } from '../../protocol/device-api.ts';

/** Events kept while the server is away. Beyond it, the cheapest to lose go first. */
export const QUEUE_CAP_EVENTS = 256;
export const QUEUE_FILE_CAP_BYTES = 1024 * 1024;
const NUMBER_CAP = 2 ** 48;
export const DROPPED_CODE = 'reports-dropped';

const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

export const ReportQueueFile = v.strictObject({
  format: v.literal('holdfast-reports-1'),
  /** The last number ever given. */
  last: Count,
  /** Numbers up to this one may have been sent. */
  offered: Count,
  reports: v.pipe(v.array(Report), v.maxLength(QUEUE_CAP_EVENTS)),
});
export type ReportQueueFile = v.InferOutput<typeof ReportQueueFile>;

export interface ReportQueue {
  readonly last: number;
  readonly offered: number;
  readonly reports: readonly Report[];
}

export const emptyQueue = (last: number): ReportQueue => ({ last, offered: last, reports: [] });

/** Undefined when the file is not a queue whose numbers follow one another up to `last`. */
export function decodeQueue(bytes: Uint8Array): ReportQueue | undefined {
  try {
    const file = v.safeParse(ReportQueueFile, JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)));
    if (!file.success) return undefined;
    const { last, offered, reports } = file.output;
    const first = last - reports.length + 1;
    const inOrder = reports.every(({ reportSequence }, index) => reportSequence === first + index);
    return inOrder && offered <= last ? { last, offered, reports } : undefined;
  } catch {
    return undefined;
  }
}

export function encodeQueue(queue: ReportQueue): Uint8Array {
  const file: ReportQueueFile = { format: 'holdfast-reports-1', ...queue, reports: [...queue.reports] };
  return new TextEncoder().encode(JSON.stringify(file));
}

/** Adds an event. Progress that nobody has seen yet is overwritten by later progress of the same action. */
export function addEvent(
  queue: ReportQueue,
  event: ReportEvent,
  when: Omit<Report, 'reportSequence' | 'event'>,
): ReportQueue {
  const tail = queue.reports.at(-1);
  if (tail !== undefined && tail.reportSequence > queue.offered && isLaterProgress(event, tail.event)) {
    return { ...queue, reports: [...queue.reports.slice(0, -1), { ...tail, ...when, event }] };
  }
  const added = [...queue.reports, { reportSequence: queue.last + 1, ...when, event }];
  return shorten({ ...queue, last: queue.last + 1, reports: added }, when);
}

function isLaterProgress(event: ReportEvent, before: ReportEvent): boolean {
  return (
    event.kind === 'progress' &&
    before.kind === 'progress' &&
    event.actionId === before.actionId &&
    event.sequence === before.sequence
  );
}

/** Which event is lost first when the queue is full: what a later event says better, then words, then deeds. */
const DROP_ORDER: readonly (readonly ReportEvent['kind'][])[] = [
  ['progress', 'state'],
  ['notice'],
  ['booted', 'failed', 'refused'],
  ['confirmed', 'rolled-back'],
];

/** Drops until the cap holds, and says so in one notice that counts. Nothing that may have been sent is touched. */
function shorten(queue: ReportQueue, when: Omit<Report, 'reportSequence' | 'event'>): ReportQueue {
  if (queue.reports.length <= QUEUE_CAP_EVENTS) return queue;
  const sent = queue.reports.filter(({ reportSequence }) => reportSequence <= queue.offered);
  const unseen = queue.reports.slice(sent.length);
  const earlier = unseen.find(isDroppedNotice);
  let kept = unseen.filter((report) => !isDroppedNotice(report));
  let dropped = earlier?.event.kind === 'notice' ? Number.parseInt(earlier.event.detail, 10) || 0 : 0;
  for (const kinds of DROP_ORDER) {
    while (sent.length + kept.length + 1 > QUEUE_CAP_EVENTS) {
      const victim = kept.findIndex(({ event }) => kinds.includes(event.kind));
      if (victim < 0) break;
      kept = kept.toSpliced(victim, 1);
      dropped += 1;
    }
  }
  const detail = `${dropped} events were dropped, because the queue was full`;
  const notice: Report = {
    reportSequence: 0,
    ...(earlier ?? when),
    event: { kind: 'notice', code: DROPPED_CODE, detail },
  };
  return renumber({ ...queue, reports: [...sent, notice, ...kept] }, sent.length);
}

function isDroppedNotice({ event }: Report): boolean {
  return event.kind === 'notice' && event.code === DROPPED_CODE;
}

/** Numbers everything from index `from` on, one after the other, after what may have been sent. */
function renumber(queue: ReportQueue, from: number): ReportQueue {
  const reports = queue.reports.map((report, index) =>
    index < from ? report : { ...report, reportSequence: queue.offered + 1 + index - from },
  );
  return { ...queue, reports, last: queue.offered + reports.length - from };
}

/** Before sending: the first `count` are about to be seen. */
export function offerFirst(queue: ReportQueue, count: number): ReportQueue {
  const upTo = queue.reports[Math.min(count, queue.reports.length) - 1]?.reportSequence ?? 0;
  return { ...queue, offered: Math.max(queue.offered, upTo) };
}

/**
 * The server has everything up to `acknowledged`. A number beyond what was offered means that this device forgot its
 * own (a data partition put back from a backup): it goes on after the server's, and the unsent events move with it.
 */
export function acknowledge(queue: ReportQueue, acknowledged: number): { queue: ReportQueue; jumped: boolean } {
  if (acknowledged <= queue.offered) {
    const reports = queue.reports.filter(({ reportSequence }) => reportSequence > acknowledged);
    return { queue: { ...queue, reports }, jumped: false };
  }
  // Numbers this high are no count of anything: such an answer is not believed.
  if (acknowledged > NUMBER_CAP) return { queue, jumped: false };
  const moved = { ...queue, offered: acknowledged, last: acknowledged + queue.reports.length };
  return { queue: renumber(moved, 0), jumped: true };
}
