/**
 * Encoding beside a server's event loop: minutes of computing in a thread of its own, which can be given up.
 *
 * May not: run on a request's path. Make recipes at publication or on first demand, and keep them.
 */
import { Worker } from 'node:worker_threads';
import type { DeltaRequest, DeltaResult } from './encode.ts';

export type WorkerRequest = Omit<DeltaRequest, 'onProgress'>;
export type WorkerMessage =
  | { readonly kind: 'progress'; readonly step: string; readonly done: number; readonly total: number }
  | { readonly kind: 'result'; readonly result: DeltaResult };

/** Rejects with the encoder's error, or with the signal's reason. What was begun is removed or overwritten next time. */
export function encodeDeltaInWorker(request: DeltaRequest, signal?: AbortSignal): Promise<DeltaResult> {
  const { onProgress, ...workerData } = request;
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData });
    const abort = (): void => {
      void worker.terminate();
      reject(signal?.reason);
    };
    signal?.addEventListener('abort', abort, { once: true });
    worker.on('message', (message: WorkerMessage) => {
      if (message.kind === 'progress') onProgress?.(message.step, message.done, message.total);
      else resolve(message.result);
    });
    worker.once('error', reject);
    worker.once('exit', (status) => {
      signal?.removeEventListener('abort', abort);
      reject(new Error(`the encoder's thread ended with status ${status}`));
    });
  });
}
