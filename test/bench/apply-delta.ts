/**
 * Applies a recipe in a process of its own, started and compiled as the agent is, so that its memory and CPU can be measured:
 *
 *   node test/bench/apply-delta.ts OLD RECIPE BLOCKMAP IMAGE_BYTES OUT
 *
 * Prints one line of JSON: blocks made, CPU in seconds, peak memory in MB (10⁶ bytes).
 */
import { open, readFile, stat } from 'node:fs/promises';
import { compileHotCode } from '../../agent/hot-code.ts';
import { DeltaDecoder, readRecipeIndex } from '../../delta/decode/decoder.ts';
import { decodeBlockMap } from '../../trust/blocks.ts';

compileHotCode();
const [oldPath = '', recipePath = '', mapPath = '', sizeText = '', outPath = ''] = process.argv.slice(2);
const map = decodeBlockMap(await readFile(mapPath), Number(sizeText));
if (!map.ok) throw new Error(map.detail);
const recipe = await open(recipePath, 'r');
const old = await open(oldPath, 'r');
const out = await open(outPath, 'w');
const chunk = Buffer.allocUnsafeSlow(1024 * 1024);

const recipeReader = {
  async read(length: number, position: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    const { bytesRead } = await recipe.read(bytes, 0, length, position);
    if (bytesRead !== length) throw new Error('the recipe is short');
    return bytes;
  },
};
const oldReader = {
  atMostBytes: chunk.length,
  async read(length: number, position: number): Promise<Uint8Array> {
    const { bytesRead } = await old.read(chunk, 0, length, position);
    return chunk.subarray(0, bytesRead);
  },
};
const index = await readRecipeIndex(recipeReader, (await stat(recipePath)).size);
if (!index.ok) throw new Error(index.detail);
const decoder = new DeltaDecoder({ index: index.value, recipe: recipeReader, old: oldReader, map: map.value });
const block = new Uint8Array(map.value.blockBytes);
for (let number = 0; number < map.value.count; number += 1) {
  const outcome = await decoder.produce(number, block);
  if (!outcome.made) throw new Error(`block ${number}: ${outcome.why}: ${outcome.detail}`);
  await out.write(outcome.bytes, 0, outcome.bytes.length, number * map.value.blockBytes);
}
await Promise.all([out.close(), old.close(), recipe.close()]);
const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
const cpuSeconds = (userCPUTime + systemCPUTime) / 1e6;
process.stdout.write(`${JSON.stringify({ blocks: map.value.count, cpuSeconds, peakMb: (maxRSS * 1024) / 1e6 })}\n`);
