/**
 * Applies packed pieces in a process of its own, so that its memory and CPU can be measured:
 *
 *   node apply-pieces.ts OLD INDEX PIECES OUT   (INDEX, PIECES: compressed by zstd)
 */
import { applyPieces } from './packed-pieces.ts';

const [old = '', index = '', pieces = '', out = ''] = process.argv.slice(2);
await applyPieces(old, index, pieces, out);
