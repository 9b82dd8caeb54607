/** The encoder in a worker thread: takes one request as its data, posts progress and the result (in-worker.ts). */
import { parentPort, workerData } from 'node:worker_threads';
import { encodeDelta } from './encode.ts';
import type { WorkerMessage, WorkerRequest } from './in-worker.ts';

const PROGRESS_EVERY_MS = 200;
let saidMs = 0;
let saidStep = '';

const post = (message: WorkerMessage): void => parentPort?.postMessage(message);

const result = await encodeDelta({
  ...(workerData as WorkerRequest),
  onProgress(step, done, total) {
    const nowMs = performance.now();
    if (step === saidStep && nowMs - saidMs < PROGRESS_EVERY_MS && done < total) return;
    saidMs = nowMs;
    saidStep = step;
    post({ kind: 'progress', step, done, total });
  },
});
post({ kind: 'result', result });
