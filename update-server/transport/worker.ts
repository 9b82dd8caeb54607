/**
 * The program that makes one form of an image and ends: started by worker-process.ts, as a process of its own, so that
 * whatever it needs or does wrong (memory above all) ends it and not the server.
 *
 * One request comes as a message; progress and the end are told as messages. It has no key, no database and no network.
 */
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import { encodeDelta } from '../../delta/encode/encode.ts';
import { decodeRecipeHeader, RECIPE_HEADER_BYTES } from '../../delta/format.ts';
import { errorText } from '../../platform/fault.ts';
import { hex } from '../../trust/bytes.ts';
import { indexPieces, packBlocks } from './pack-image.ts';
import type { WorkerMessage, WorkerRequest } from './worker-process.ts';

const PROGRESS_EVERY_MS = 200;
const startedBy = process.ppid;
let saidMs = Number.NEGATIVE_INFINITY;
let saidStep = '';

function onProgress(step: string, done: number, total: number): void {
  // The encoder does not come back to the event loop for minutes: that the server is gone shows here.
  if (process.ppid !== startedBy) process.exit(1);
  const nowMs = performance.now();
  if (step === saidStep && nowMs - saidMs < PROGRESS_EVERY_MS) return;
  saidMs = nowMs;
  saidStep = step;
  tell({ kind: 'progress', step, done, total });
}

function tell(message: WorkerMessage, then: () => void = () => undefined): void {
  process.send?.(message, undefined, undefined, then);
}

async function make(request: WorkerRequest): Promise<void> {
  const { form, imagePath, outPath } = request;
  const pack = { imagePath, imageSha256: form.imageSha256, outPath, onProgress };
  if (form.kind === 'blocks') return packBlocks({ ...pack, coding: form.coding });
  if (form.kind === 'pieces') return indexPieces(pack);
  await encodeDelta({
    oldPath: request.oldPath ?? '',
    newPath: imagePath,
    outPath,
    memoryBytes: request.memoryBytes,
    onProgress,
  });
  checkRecipe(outPath, form.oldSha256, form.imageSha256);
}

/** The encoder proves that the recipe makes one file from the other; that they are these two images is proven here. */
function checkRecipe(path: string, oldSha256: string, newSha256: string): void {
  const bytes = new Uint8Array(RECIPE_HEADER_BYTES);
  const file = openSync(path, 'r');
  readSync(file, bytes, 0, bytes.length, 0);
  closeSync(file);
  const header = decodeRecipeHeader(bytes);
  if (!header.ok) throw new Error(header.detail);
  if (hex(header.value.oldSha256) !== oldSha256) throw new Error('the stored old image is damaged');
  if (hex(header.value.newSha256) !== newSha256) throw new Error('the stored image is damaged');
}

/** When memory gets short, the kernel is to choose this process and not the server. */
function offerAsVictim(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', '1000');
  } catch {
    // Not Linux, or not permitted: the server's own limit still holds.
  }
}

offerAsVictim();
process.once('disconnect', () => process.exit(1));
process.once('message', (request: WorkerRequest) => {
  make(request).then(
    () => tell({ kind: 'made' }, () => process.exit(0)),
    (error: unknown) => tell({ kind: 'failed', what: errorText(error) }, () => process.exit(0)),
  );
});
