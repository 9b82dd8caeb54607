import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodePieceRuns } from '../../../../protocol/image-transport.ts';
import { PieceAnswers } from '../../../../update-server/transport/piece-answers.ts';

const SIZE = 10 * 4096;
let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-pieces-'));
  await writeFile(join(directory, 'image'), Buffer.alloc(SIZE, 'an image '));
});
afterAll(() => rm(directory, { recursive: true }));

const request = (deviceId: string, imageSizeBytes = SIZE) => ({
  deviceId,
  imagePath: join(directory, 'image'),
  imageSizeBytes,
  body: encodePieceRuns([{ first: 1, count: 2 }]),
  acceptEncoding: '',
});

/** An answer that the device is still taking, and how to end it. */
function transfer() {
  let end = (): void => undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { ended, end: () => end() };
}

test('a device has two answers at a time, and all devices thirty-two', async () => {
  const answers = new PieceAnswers();
  const transfers = Array.from({ length: 33 }, transfer);
  const ask = async (deviceId: string, index: number): Promise<string> =>
    (await answers.answer(request(deviceId), transfers[index]?.ended ?? Promise.resolve())).outcome;
  expect([await ask('one', 0), await ask('one', 1), await ask('one', 2)]).toEqual(['answered', 'answered', 'busy']);
  for (let index = 2; index < 32; index += 1) expect(await ask(`other-${index}`, index)).toBe('answered');
  expect(await ask('late', 32)).toBe('busy');
  transfers[0]?.end();
  await transfers[0]?.ended;
  expect(await ask('late', 32)).toBe('answered');
  expect(await ask('one', 0)).toBe('busy');
});

test('a list that is refused costs no place', async () => {
  const answers = new PieceAnswers();
  const never = new Promise(() => undefined);
  for (let index = 0; index < 5; index += 1) {
    const refused = await answers.answer({ ...request('one'), body: new Uint8Array(8) }, never);
    expect(refused.outcome).toBe('malformed');
  }
  expect((await answers.answer(request('one'), never)).outcome).toBe('answered');
});

test('an artifact that is shorter than its image is no answer of fewer bytes', async () => {
  const answers = new PieceAnswers();
  const beyond = { ...request('one', 20 * 4096), body: encodePieceRuns([{ first: 9, count: 2 }]) };
  await expect(answers.answer(beyond, Promise.resolve())).rejects.toThrow('shorter than its image');
});
