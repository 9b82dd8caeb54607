/**
 * What every way of coming by a block is given, and may answer. A block that a way gives equals the signed block map:
 * the type says so, and only trust/blocks.ts makes it.
 */
import type { BlockMap } from '../../trust/blocks.ts';
import type { Verified } from '../../trust/bytes.ts';
import type { ReleaseImage } from '../../trust/release.ts';
import type { BlockMemory } from '../block-memory.ts';
import type { EnginePorts } from '../core/ports.ts';
import type { FetchedBytes, WayName } from './fetched-bytes.ts';
import type { Patience } from './patience.ts';

/** One image of the release, and what its ways share. */
export interface ImageFacts {
  readonly ports: Pick<EnginePorts, 'disk' | 'board' | 'source' | 'clock'>;
  readonly image: ReleaseImage;
  readonly map: BlockMap;
  /** Where the source keeps the image, whole. */
  readonly path: string;
  readonly fetched: FetchedBytes;
  readonly patience: Patience;
}

export interface WantedBlock {
  readonly index: number;
  /** Where it goes. */
  readonly memory: BlockMemory;
  /** The blocks after it, up to this one, are wanted soon as well. */
  readonly wantedBefore: number;
  /** A way before left the block in the memory, but for some pieces. */
  readonly nearly?: boolean;
}

export interface NotGot {
  readonly got: false;
  /** A short code: what a notice says once. */
  readonly why: string;
  readonly detail: string;
  /** This way has no block of this image. */
  readonly forGood?: boolean;
  /** What lies in the memory is the block but for some pieces. */
  readonly nearly?: boolean;
}

export type WayOutcome = { readonly got: true; readonly block: Verified<Uint8Array> } | NotGot;

export interface BlockWay {
  readonly name: WayName;
  /** Throws SourceUnreachable; what arrived is kept for the next try. Several at a time. */
  obtain(wanted: WantedBlock): Promise<WayOutcome>;
  /** Lets go of files and memory: nobody asks any more. */
  close(): Promise<void>;
}

export function notGot(why: string, detail: string, more: Pick<NotGot, 'forGood' | 'nearly'> = {}): NotGot {
  return { got: false, why, detail, ...more };
}
