/** Removals in the forms in which images travel. */
import { inFile } from './removal.ts';

const FETCHING = ['test/unit/agent/blocks/fetching.test.ts'];

export const TRANSPORT = [
  ...inFile(
    'agent/blocks/whole-way.ts',
    ['test/unit/agent/update-engine.test.ts'],
    [
      {
        name: 'the digest check of a whole block before it is written',
        find: 'const block = fetched.ok ? verifyBlock(map, index, fetched.value) : fetched;',
        replace: 'const block = fetched;',
      },
    ],
  ),
  ...inFile('agent/blocks/packed-way.ts', FETCHING, [
    {
      name: 'the digest check of a packed block',
      find: 'const verdict = verifyBlock(map, index, plain);',
      replace: 'const verdict = { ok: true, value: plain, detail: "" } as never as ReturnType<typeof verifyBlock>;',
    },
    {
      name: 'the digest check of a stored block',
      find: 'const verdict = came ? verifyBlock(map, index, whole) : undefined;',
      replace: 'const verdict = { ok: true, value: whole, detail: "" } as never as ReturnType<typeof verifyBlock>;',
    },
  ]),
  ...inFile('agent/blocks/pieces-way.ts', FETCHING, [
    {
      name: 'the digest check of a block made of pieces',
      find: 'const verdict = verifyBlock(this.#facts.map, index, block);',
      replace: 'const verdict = { ok: true, value: block, detail: "" } as never as ReturnType<typeof verifyBlock>;',
    },
  ]),
  ...inFile('agent/blocks/recipe-way.ts', FETCHING, [
    {
      name: 'that a recipe cut off is asked for again, and not given up',
      find: "if (outcome.why === 'recipe-unreachable' && cause instanceof SourceUnreachable) throw cause;",
      replace: '',
    },
    {
      name: 'the doubt about the packs of a recipe that a power cut may have torn',
      find: "outcome.why === 'recipe-malformed' && this",
      replace: "outcome.why === 'recipe-unreachable' && this",
    },
    {
      name: 'the doubt about the index of a recipe that a power cut may have torn',
      find: '      if (resumed) return this.#open();\n',
      replace: '',
    },
  ]),
  ...inFile('agent/blocks/patience.ts', FETCHING, [
    { name: 'the end of patience', find: 'this.#leftMs -= laterMs - nowMs;', replace: '' },
  ]),
  ...inFile(
    'protocol/image-transport.ts',
    ['test/unit/protocol/image-transport.test.ts'],
    [
      {
        name: 'the cap on pieces in one request',
        find: '    if (asked > PIECES_PER_REQUEST) return malformed(',
        replace: '    if (asked < 0) return malformed(',
      },
      {
        name: 'the refusal of pieces beyond the image',
        find: '    if (end > pieces) return malformed(',
        replace: '    if (end < 0) return malformed(',
      },
      {
        name: 'the refusal of runs out of order',
        find: '    if (first < end) return malformed(',
        replace: '    if (first < 0) return malformed(',
      },
      {
        name: 'the refusal of a packed block larger than it is plain',
        find: '    if (sizeBytes > plainBytes) return malformed(',
        replace: '    if (sizeBytes < 0) return malformed(',
      },
      {
        name: "the check that an index has the image's count of blocks",
        find: '  if (view.getUint32(12) !== count) return',
        replace: '  if (view.getUint32(12) < 0) return',
      },
    ],
  ),
  ...inFile(
    'update-server/core/transport-plan.ts',
    ['test/unit/update-server/core/transport-plan.test.ts'],
    [
      {
        name: 'that a recipe is of one hardware class',
        find: '    if (old.hardwareClass !== target.hardwareClass) return;\n',
        replace: '',
      },
      {
        name: 'that a device asks for forms of its own class only',
        find: '    return classes?.has(hardwareClass) === true;',
        replace: '    return classes !== undefined;',
      },
      {
        name: 'that forms are of published images only',
        find: 'facts.releases.filter((one) => !one.withdrawn)',
        replace: 'facts.releases',
      },
    ],
  ),
  ...inFile(
    'update-server/transport/transport-folder.ts',
    ['test/unit/update-server/transport/transport-folder.test.ts'],
    [
      { name: 'the fsync of a form before it gets its name', find: '      await file.sync();\n', replace: '' },
      {
        name: 'the fsync of the folder of forms',
        find: '    await this.#disk.syncDirectory(this.#directory);\n',
        replace: '',
      },
      { name: 'the removal of what cut work left', find: '    await folder.clearParts();\n', replace: '' },
    ],
  ),
  ...inFile(
    'update-server/transport/piece-answers.ts',
    ['test/unit/update-server/transport/piece-answers.test.ts'],
    [
      { name: 'the limit on piece answers at a time', find: 'this.#open >= ANSWERS_AT_MOST || ', replace: '' },
      { name: 'the limit on piece answers of one device', find: ' || ofDevice >= ANSWERS_OF_ONE_DEVICE', replace: '' },
    ],
  ),
  ...inFile(
    'update-server/transport/failures.ts',
    ['test/unit/update-server/transport/failures.test.ts'],
    [
      { name: 'the end of trying what fails', find: 'failure.tries >= TRIES || ', replace: '' },
      {
        name: 'the pause after a failure',
        find: ' || failure.againUnixMs > this.#clock.nowUnixMs()',
        replace: '',
      },
    ],
  ),
];
