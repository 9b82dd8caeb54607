/**
 * The Reporter: every event is on disk before record() returns, and is forgotten only when the server has it.
 *
 * On disk, in one folder:
 *   queue           the events and their numbers, a durable file
 *   last-number.0/1 the last number alone, twice: what goes on counting when the queue itself was lost
 *
 * The number is written before the queue. Cut in between: the queue, being whole, is right, and the number is given
 * again to an event that nobody has seen. A damaged queue is set aside, with a notice, and counting goes on.
 */
import { join } from 'node:path';
import { type Disk, FileTooLarge } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import { systemErrorCode } from '../../platform/fault.ts';
import { readTwoCopy, writeTwoCopy } from '../../platform/two-copy-record.ts';
import { REPORTS_PER_REQUEST, type Report, type ReportAnswer, type ReportEvent } from '../../protocol/device-api.ts';
import type { Verdict } from '../../trust/refusal.ts';
import type { Clock, Log, Reporter } from '../core/ports.ts';
import {
  acknowledge,
  addEvent,
  decodeQueue,
  emptyQueue,
  encodeQueue,
  offerFirst,
  QUEUE_FILE_CAP_BYTES,
  type ReportQueue,
} from './report-queue.ts';

export interface ReporterPorts {
  readonly disk: Disk;
  readonly clock: Pick<Clock, 'wallUnixMs'>;
  readonly log: Log;
  readonly bootId: string;
}

export type SendReports = (reports: readonly Report[]) => Promise<Verdict<ReportAnswer>>;

export class DurableReporter implements Reporter {
  readonly #ports: ReporterPorts;
  readonly #directory: string;
  #queue: ReportQueue;
  /** Changes happen one after the other; a failed one does not stop the next. */
  #last: Promise<unknown> = Promise.resolve();
  #flushing = false;

  private constructor(ports: ReporterPorts, directory: string, queue: ReportQueue) {
    this.#ports = ports;
    this.#directory = directory;
    this.#queue = queue;
  }

  /** Throws only what a dying disk throws. */
  static async open(ports: ReporterPorts, directory: string): Promise<DurableReporter> {
    const { disk } = ports;
    await disk.makeDirectory(directory);
    const { queue, setAside } = await readQueue(disk, directory);
    const reporter = new DurableReporter(ports, directory, queue);
    if (setAside !== undefined) {
      ports.log.warn('the report queue was damaged and is set aside', { path: setAside });
      await reporter.record({
        kind: 'notice',
        code: 'report-queue-damaged',
        detail: `set aside as ${setAside}; reports from before are lost`,
      });
    }
    return reporter;
  }

  /** Events that wait for the server. */
  get waiting(): number {
    return this.#queue.reports.length;
  }

  record(event: ReportEvent): Promise<void> {
    const when = { bootId: this.#ports.bootId, atUnixMs: this.#ports.clock.wallUnixMs() ?? null };
    return this.#change((queue) => addEvent(queue, event, when));
  }

  /** Sends until nothing waits, or the server takes no more. The refusal, if the server gave one. */
  async flush(send: SendReports): Promise<Verdict<undefined>> {
    if (this.#flushing) return { ok: true, value: undefined };
    this.#flushing = true;
    try {
      while (this.#queue.reports.length > 0) {
        await this.#change((queue) => offerFirst(queue, REPORTS_PER_REQUEST));
        const batch = this.#queue.reports.slice(0, REPORTS_PER_REQUEST);
        const answer = await send(batch);
        if (!answer.ok) return answer;
        if (!(await this.#acknowledge(answer.value.acknowledged))) break;
      }
      return { ok: true, value: undefined };
    } finally {
      this.#flushing = false;
    }
  }

  /** Returns whether it got any further. */
  async #acknowledge(acknowledged: number): Promise<boolean> {
    const before = this.#queue.reports[0]?.reportSequence;
    let jumped = false;
    await this.#change((queue) => {
      const next = acknowledge(queue, acknowledged);
      jumped = next.jumped;
      return next.queue;
    });
    if (jumped) {
      this.#ports.log.warn('the server had numbers that this device never gave', { acknowledged });
      await this.record({
        kind: 'notice',
        code: 'report-numbers-moved',
        detail: `the server had ${acknowledged}; counting goes on after it`,
      });
    }
    return this.#queue.reports[0]?.reportSequence !== before;
  }

  #change(next: (queue: ReportQueue) => ReportQueue): Promise<void> {
    const change = this.#last.then(async () => {
      const queue = next(this.#queue);
      if (queue === this.#queue) return;
      await writeQueue(this.#ports.disk, this.#directory, this.#queue, queue);
      this.#queue = queue;
    });
    this.#last = change.catch(() => {});
    return change;
  }
}

async function writeQueue(disk: Disk, directory: string, before: ReportQueue, queue: ReportQueue): Promise<void> {
  if (queue.last !== before.last) {
    await writeTwoCopy(disk, join(directory, 'last-number'), new TextEncoder().encode(String(queue.last)));
  }
  await writeDurably(disk, join(directory, 'queue'), encodeQueue(queue));
}

async function readQueue(disk: Disk, directory: string): Promise<{ queue: ReportQueue; setAside: string | undefined }> {
  const path = join(directory, 'queue');
  const bytes = await disk.readFile(path, QUEUE_FILE_CAP_BYTES).catch((error: unknown) => {
    if (error instanceof FileTooLarge || systemErrorCode(error) === 'EIO') return new Uint8Array();
    throw error;
  });
  const number = await readLastNumber(disk, directory);
  if (bytes === undefined) return { queue: emptyQueue(number), setAside: undefined };
  const queue = decodeQueue(bytes);
  if (queue !== undefined) return { queue, setAside: undefined };
  const setAside = `${path}.damaged`;
  // The notice that follows is durable, and with it this; cut before, the damaged queue is found again.
  await disk.rename(path, setAside);
  return { queue: emptyQueue(number), setAside };
}

async function readLastNumber(disk: Disk, directory: string): Promise<number> {
  const { current } = await readTwoCopy(disk, join(directory, 'last-number'));
  const number = current === undefined ? 0 : Number(new TextDecoder().decode(current.payload));
  return Number.isSafeInteger(number) && number >= 0 ? number : 0;
}
