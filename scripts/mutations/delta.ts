/** What bounds a recipe's deflate operations, and what notices an old stream that changed. */
import { inFile, type Removal } from './removal.ts';

export const DELTA: readonly Removal[] = [
  ...inFile(
    'delta/decode/pack.ts',
    ['test/unit/delta/hostile-deflate.test.ts'],
    [
      {
        name: "the cap of a block's deflate work",
        find: ' || this.#blockPuffedBytes > BLOCK_PUFFED_CAP_BYTES',
        replace: '',
      },
      {
        name: 'the cap of old deflate streams together',
        find: 'this.#inputBytes > PUFFED_CAP_BYTES || ',
        replace: '',
      },
      {
        name: "the end of a deflate stream's sources",
        find: 'if (this.at >= 0 && this.#puffedEnd <= this.#inputBytes) return;',
        replace: 'if (this.at >= 0) return;',
      },
    ],
  ),
  ...inFile(
    'delta/decode/deflated.ts',
    ['test/unit/delta/hostile-deflate.test.ts'],
    [
      {
        name: 'the check that an old deflate stream is what it was',
        find: '    if (puffedBytes !== into.length) throw new NotThatStream(true);\n',
        replace: '    void puffedBytes;\n',
      },
    ],
  ),
];
