import { createHash } from 'node:crypto';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DeltaDecoder, readRecipeIndex } from '../../../../delta/decode/decoder.ts';
import { DEVICE_PATHS } from '../../../../protocol/device-api.ts';
import {
  checkPieceIndexHeader,
  decodePackedIndex,
  encodePieceRuns,
  type PackedCoding,
  type PieceRun,
  packedIndexEndBytes,
  pieceIndexSizeBytes,
  transportPaths,
} from '../../../../protocol/image-transport.ts';
import { BlockMapBuilder } from '../../../../trust/blocks.ts';
import { sha256Hex } from '../../../../trust/crypto.ts';
import { type Answer, Testbed, type TestDevice, until } from '../testbed.ts';
import { imageOf, publish, releaseOf, settled, store } from './images.ts';

const BLOCK = 1024 * 1024;
const [OLD, IMAGE, HUB] = [imageOf(1), imageOf(2), imageOf(3)];
const UNPUBLISHED = imageOf(4);
const digest = sha256Hex(IMAGE);
const paths = {
  zstd: transportPaths.blocks(digest, 'zstd'),
  gzip: transportPaths.blocks(digest, 'gzip'),
  recipe: transportPaths.recipe(digest, sha256Hex(OLD)),
  pieces: transportPaths.pieces(digest),
};

let bed: Testbed;
let device: TestDevice;
let hub: TestDevice;
beforeAll(async () => {
  bed = await Testbed.start();
  await bed.startApi();
  device = await bed.enrolled('cam-0001');
  hub = await bed.enrolled('hub-0001', 'acme-hub');
  for (const image of [OLD, IMAGE, HUB, UNPUBLISHED]) await store(bed, image);
  await publish(bed, releaseOf(1, OLD), releaseOf(2, IMAGE), releaseOf(1, HUB, 'acme-hub'));
  await settled(bed);
});
afterAll(() => bed.stop());

const codeOf = (answer: Answer): string => `${answer.status} ${String(answer.body.code)}`;
const get = (path: string, headers: Record<string, string> = {}) => device.send('GET', path, undefined, headers);
const range = (first: number, length: number) => ({ range: `bytes=${first}-${first + length - 1}` });

describe('the packed image', () => {
  const unpack = { zstd: zstdDecompressSync, gzip: gunzipSync };

  async function fetchImage(path: string, coding: PackedCoding): Promise<Buffer> {
    const end = packedIndexEndBytes(IMAGE.length);
    const index = decodePackedIndex((await get(path, range(0, end))).bytes, IMAGE.length, coding);
    if (!index.ok) throw new Error(index.detail);
    const blocks: Buffer[] = [];
    for (const [number, { offsetBytes, sizeBytes, coding: how }] of index.value.blocks.entries()) {
      const plainBytes = Math.min(BLOCK, IMAGE.length - number * BLOCK);
      if (how === 'zeros') blocks.push(Buffer.alloc(plainBytes));
      else {
        const { bytes } = await get(path, range(offsetBytes, sizeBytes));
        blocks.push(how === 'stored' ? bytes : unpack[how](bytes));
      }
    }
    expect(index.value.blocks.map((block) => block.coding)).toEqual([coding, 'zeros', 'stored', coding]);
    const whole = await get(path);
    expect(whole.bytes.length).toBe(index.value.sizeBytes);
    return Buffer.concat(blocks);
  }

  test('made at publication, gives the image back, block by block', async () => {
    expect(sha256Hex(await fetchImage(paths.zstd, 'zstd'))).toBe(digest);
    const head = await device.send('HEAD', paths.zstd);
    expect([head.status, head.headers['accept-ranges'], head.headers['cache-control']]).toEqual([
      200,
      'bytes',
      'public, max-age=31536000, immutable',
    ]);
  });

  test('in gzip is made when a device first asks for it, which is told to come back', async () => {
    const first = await get(paths.gzip);
    expect([codeOf(first), first.headers['retry-after']]).toEqual(['503 transport-in-preparation', '5']);
    await until(async () => (await get(paths.gzip)).status === 200);
    expect(sha256Hex(await fetchImage(paths.gzip, 'gzip'))).toBe(digest);
  });

  test.each(['bytes=99999999-', 'bytes=-0'])('not in the range %s', async (wrong) => {
    expect(codeOf(await get(paths.zstd, { range: wrong }))).toBe('416 range-not-satisfiable');
  });

  test('a range of an older making is answered whole', async () => {
    const { headers } = await get(paths.zstd, range(0, 1));
    const again = await get(paths.zstd, { ...range(5, 10), 'if-range': String(headers.etag) });
    expect([again.status, again.bytes.length]).toEqual([206, 10]);
    expect((await get(paths.zstd, { ...range(5, 10), 'if-range': '"another"' })).status).toBe(200);
  });
});

test('the recipe makes the image from the old one', async () => {
  const { bytes, status } = await get(paths.recipe);
  expect(status).toBe(200);
  const read = (from: Uint8Array) => ({
    read: async (length: number, at: number) => from.subarray(at, Math.min(at + length, from.length)),
  });
  const index = await readRecipeIndex(read(bytes), bytes.length);
  if (!index.ok) throw new Error(index.detail);
  const { map } = new BlockMapBuilder().update(IMAGE).finish();
  const decoder = new DeltaDecoder({ index: index.value, recipe: read(bytes), old: read(OLD), map });
  const made = createHash('sha256');
  const into = new Uint8Array(BLOCK);
  for (let number = 0; number < map.count; number += 1) {
    const outcome = await decoder.produce(number, into);
    expect(outcome.made).toBe(true);
    made.update(into.subarray(0, Math.min(BLOCK, IMAGE.length - number * BLOCK)));
  }
  expect(made.digest('hex')).toBe(digest);
  expect(bytes.length).toBeLessThan(20_000);
});

test('the piece index names every piece of the image', async () => {
  const { bytes } = await get(paths.pieces);
  expect(bytes.length).toBe(pieceIndexSizeBytes(IMAGE.length));
  expect(checkPieceIndexHeader(bytes, IMAGE.length).ok).toBe(true);
  for (const piece of [0, 300, 769]) {
    const plain = IMAGE.subarray(piece * 4096, (piece + 1) * 4096);
    const due = createHash('sha256').update(plain).digest().subarray(0, 8);
    expect(bytes.subarray(24 + piece * 8, 32 + piece * 8).equals(due)).toBe(true);
  }
});

describe('single pieces', () => {
  const ask = (runs: readonly PieceRun[], accept?: string, path = paths.pieces) =>
    device.send(
      'POST',
      path,
      Buffer.from(encodePieceRuns(runs)),
      accept === undefined ? {} : { 'accept-encoding': accept },
    );
  const runs = [
    { first: 0, count: 2 },
    { first: 600, count: 1 },
    { first: 768, count: 2 },
  ];
  const due = Buffer.concat([
    IMAGE.subarray(0, 8192),
    IMAGE.subarray(600 * 4096, 601 * 4096),
    IMAGE.subarray(768 * 4096),
  ]);

  test.each([
    ['gzip, zstd', 'zstd', zstdDecompressSync],
    ['gzip', 'gzip', gunzipSync],
    ['zstd;q=0, gzip;q=0.5', 'gzip', gunzipSync],
    ['br', undefined, (bytes: Buffer) => bytes],
    [undefined, undefined, (bytes: Buffer) => bytes],
  ])('come in their order, compressed as one, when %s is accepted', async (accept, coding, decode) => {
    const answer = await ask(runs, accept);
    expect([answer.status, answer.headers['content-encoding']]).toEqual([200, coding]);
    expect(Buffer.compare(decode(answer.bytes), due)).toBe(0);
  });

  const raw = (text: string): Buffer => Buffer.from(text, 'hex');
  test.each<[string, Buffer]>([
    ['nothing', Buffer.alloc(0)],
    ['half a run', raw('0000')],
    ['no pieces', raw('0000000000000000')],
    ['descending', raw('00000005000000010000000100000001')],
    ['overlapping', raw('00000005000000020000000600000001')],
    ['beyond the image', raw('0000030200000001')],
    ['numbers that wrap around', raw('00000001ffffffff')],
    ['more than the cap', raw('0000000000000401')],
    ['JSON', Buffer.from('{"runs":[]}')],
  ])('%s is refused', async (_what, body) => {
    expect(codeOf(await device.send('POST', paths.pieces, body))).toBe('400 pieces-malformed');
  });

  test('a list larger than any list is not read', async () => {
    expect(codeOf(await device.send('POST', paths.pieces, Buffer.alloc(8193)))).toBe('413 body-too-large');
  });

  test.each([
    ['an image that is not published', sha256Hex(UNPUBLISHED)],
    ['an image that nobody has', '0'.repeat(64)],
  ])('%s has none', async (_what, image) => {
    expect(codeOf(await ask(runs, 'zstd', transportPaths.pieces(image)))).toBe('404 transport-unknown');
  });
});

describe('what is not there, and will not be', () => {
  const [unpublished, other, nobody] = [sha256Hex(UNPUBLISHED), sha256Hex(HUB), '0'.repeat(64)];
  test.each([
    ['blocks of an image that is not published', transportPaths.blocks(unpublished, 'zstd')],
    ['blocks of an image that nobody has', transportPaths.blocks(nobody, 'zstd')],
    ['a recipe into an image that is not published', transportPaths.recipe(unpublished, digest)],
    ['a recipe from an image that is not published', transportPaths.recipe(digest, unpublished)],
    ["a recipe from another class's image", transportPaths.recipe(digest, other)],
    ["a recipe into another class's image", transportPaths.recipe(other, digest)],
    ["another class's image in gzip", transportPaths.blocks(other, 'gzip')],
    ['a recipe from the image to itself', transportPaths.recipe(digest, digest)],
    ['the pieces of an image that nobody has', transportPaths.pieces(nobody)],
    ['another coding', `${transportPaths.blocks(digest, 'zstd')}?coding=brotli`],
    ['two codings', `${transportPaths.blocks(digest, 'zstd')}?coding=zstd&coding=gzip`],
    ['a digest in capitals', transportPaths.blocks(digest.toUpperCase(), 'zstd')],
    ['a digest too short', transportPaths.blocks(digest.slice(1), 'zstd')],
    ['a path as digest', transportPaths.recipe(digest, '..%2f..%2fdb.sqlite')],
    ['a path as image', transportPaths.pieces('..%2ftransport')],
  ])('%s', async (_what, path) => {
    expect(codeOf(await get(path))).toBe('404 transport-unknown');
    expect(bed.preparation?.queueLength).toBe(0);
  });

  test.each(['', `/${digest}`, `/${digest}/from`, `/${digest}/blocks/1`, `/..%2fmetadata/timestamp.json`])(
    'the address %s',
    async (path) => {
      expect(codeOf(await get(`${DEVICE_PATHS.transport}${path}`))).toBe('404 not-found');
    },
  );
});

test('what is made already any device may have, as targets; a device that is not enrolled has nothing', async () => {
  expect((await hub.send('GET', paths.recipe)).status).toBe(200);
  for (const path of [paths.zstd, paths.recipe, paths.pieces]) {
    expect(codeOf(await bed.device().send('GET', path))).toBe('401 no-client-certificate');
  }
  expect(codeOf(await bed.device().send('POST', paths.pieces, Buffer.alloc(8)))).toBe('401 no-client-certificate');
});

test('bytes are counted by what they were', async () => {
  const before = { ...bed.preparation?.counters.servedBytes };
  await get(paths.zstd, range(0, 1000));
  await get(paths.recipe, range(0, 92));
  const served = bed.preparation?.counters.servedBytes;
  await until(() => served?.packed === (before.packed ?? 0) + 1000 && served.recipe === (before.recipe ?? 0) + 92);
  expect(served?.pieces).toBeGreaterThan(0);
});

test('what is withdrawn is gone', async () => {
  await publish(bed, releaseOf(1, OLD), releaseOf(1, HUB, 'acme-hub'));
  expect(codeOf(await get(paths.zstd))).toBe('404 transport-unknown');
  expect(codeOf(await get(paths.recipe))).toBe('404 transport-unknown');
  expect((await get(transportPaths.blocks(sha256Hex(OLD), 'zstd'))).status).toBe(200);
});
