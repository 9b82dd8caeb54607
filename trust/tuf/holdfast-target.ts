/**
 * Holdfast's own member of a target's `custom`: what a file is, and for a release everything that must agree with its
 * SUIT manifest. Strict, as holdfast-root.ts is.
 */
import { BLOCK_BYTES, BLOCK_MAP_CAP_BYTES } from '../blocks.ts';
import type { JsonObject, JsonValue } from '../json.ts';
import { asCount, asList, asObject, asOneOf, asText, member, onlyMembers, shapeFault } from '../shape.ts';

/** Vendors, hardware classes and channels. */
export const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;
/** Components: `boot`, `rootfs`. */
export const COMPONENT = /^[a-z0-9][a-z0-9_-]{0,31}$/;
/** Versions are for people and compared for equality only; the sequence decides what is newer. */
export const VERSION_TEXT = /^[0-9A-Za-z][0-9A-Za-z.+~_-]{0,63}$/;
/** Relative, at most 256 characters, no empty, `.` or `..` segment. */
export const TARGET_PATH = /^(?=.{1,256}$)(?:[a-z0-9][a-z0-9._-]*\/)*[a-z0-9][a-z0-9._-]*$/;
export const MAX_IMAGES = 16;
/** The largest image whose block map stays under its cap. */
export const MAX_IMAGE_BYTES = Math.floor((BLOCK_MAP_CAP_BYTES - 24) / 32) * BLOCK_BYTES;

const RELEASE_MEMBERS = [
  'kind',
  'vendor',
  'hardwareClass',
  'channel',
  'version',
  'sequence',
  'floorSequence',
  'buildUnixS',
  'images',
];

export function checkHoldfastTarget(value: JsonValue | undefined, where: string): void {
  const object = asObject(value, `${where} holdfast`);
  const kind = asOneOf(member(object, 'kind'), `${where} kind`, ['release', 'image', 'block-map']);
  if (kind === 'release') checkReleaseEntry(object, where);
  else onlyMembers(object, `${where} holdfast`, ['kind']);
}

function checkReleaseEntry(entry: JsonObject, where: string): void {
  onlyMembers(entry, `${where} holdfast`, RELEASE_MEMBERS);
  for (const name of ['vendor', 'hardwareClass', 'channel']) asText(member(entry, name), `${where} ${name}`, NAME);
  asText(member(entry, 'version'), `${where} version`, VERSION_TEXT);
  const sequence = asCount(member(entry, 'sequence'), `${where} sequence`, 1);
  const floor = asCount(member(entry, 'floorSequence'), `${where} floorSequence`);
  // A floor above the release itself would take the release's own slot out of the boot order.
  if (floor > sequence) shapeFault(`${where} floorSequence`, `is ${floor}, above the sequence ${sequence}`);
  asCount(member(entry, 'buildUnixS'), `${where} buildUnixS`);
  const images = asList(member(entry, 'images'), `${where} images`, MAX_IMAGES);
  if (images.length === 0) shapeFault(`${where} images`, 'are none');
  const components = images.map((image, index) => checkImage(image, `${where} images[${index}]`));
  if (new Set(components).size !== components.length) shapeFault(`${where} images`, 'name a component twice');
}

function checkImage(value: JsonValue, where: string): string {
  const image = asObject(value, where);
  onlyMembers(image, where, ['component', 'sizeBytes', 'sha256', 'image', 'blockMap']);
  const sizeBytes = asCount(member(image, 'sizeBytes'), `${where} sizeBytes`, 1);
  if (sizeBytes > MAX_IMAGE_BYTES) shapeFault(`${where} sizeBytes`, `is above ${MAX_IMAGE_BYTES}`);
  asText(member(image, 'sha256'), `${where} sha256`, /^[0-9a-f]{64}$/);
  asText(member(image, 'image'), `${where} image`, TARGET_PATH);
  asText(member(image, 'blockMap'), `${where} blockMap`, TARGET_PATH);
  return asText(member(image, 'component'), `${where} component`, COMPONENT);
}
