/** Skeleton; see exports. */
import type { Verdict } from './refusal.ts';

export const BLOCK_BYTES = 1024 * 1024;
/** A block map is never larger: 8 MiB name 256 GiB of image. */
export const BLOCK_MAP_CAP_BYTES = 8 * 1024 * 1024;
export interface BlockMap {
  readonly imageSizeBytes: number;
  readonly blockBytes: number;
  readonly count: number;
  /** `count` × 32 bytes. */
  readonly digests: Uint8Array;
}
export function blockCount(_imageSizeBytes: number): number {
  throw new Error('not written yet');
}
/** Size of the encoded map of an image of this size. */
export function blockMapSizeBytes(_imageSizeBytes: number): number {
  throw new Error('not written yet');
}
export function blockSizeBytes(_map: BlockMap, _index: number): number {
  throw new Error('not written yet');
}
export function makeBlockMap(_imageSizeBytes: number, _digests: readonly Uint8Array[]): BlockMap {
  throw new Error('not written yet');
}
/** Makes a map, and the image's whole digest, from a stream of pieces of any size. */
export class BlockMapBuilder {
  update(_bytes: Uint8Array): this {
    throw new Error('not written yet');
  }
  finish(): { map: BlockMap; imageSizeBytes: number; sha256: string } {
    throw new Error('not written yet');
  }
}
export function encodeBlockMap(_map: BlockMap): Uint8Array {
  throw new Error('not written yet');
}
export function decodeBlockMap(_bytes: Uint8Array, _imageSizeBytes: number): Verdict<BlockMap> {
  throw new Error('not written yet');
}
export function verifyBlock(_map: BlockMap, _index: number, _bytes: Uint8Array): Verdict<Uint8Array> {
  throw new Error('not written yet');
}
