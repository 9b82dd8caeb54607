/**
 * Holdfast's own member of root metadata: environment, authors, server addresses, escrow keys. Strict: it is ours, so
 * an unknown member is a mistake or an attack, never a newer writer's courtesy.
 *
 * Invariants: an author's key id is the digest of its key. An author key is never a key of a TUF role, so that a thief
 * needs both a targets threshold and an author to ship an image. An escrow key is one X25519 key, once.
 */
import { unhex } from '../bytes.ts';
import { P256_POINT_BYTES, sha256Hex } from '../crypto.ts';
import type { JsonObject, JsonValue } from '../json.ts';
import { asList, asObject, asOneOf, asText, member, onlyMembers, shapeFault } from '../shape.ts';
import { ED25519_KEY_BYTES } from '../signature.ts';
import { isX25519PublicKey } from '../x25519.ts';
import { NAME } from './holdfast-target.ts';
import { ENVIRONMENTS, type HoldfastRoot } from './roles.ts';

const MAX_AUTHORS = 64;
const MAX_CLASSES = 64;
const MAX_SERVERS = 8;
const MAX_ANCHORS = 8;
const MAX_ESCROW_KEYS = 16;
const URL_TEXT = /^[\x21-\x7e]{1,256}$/;
const ANCHOR = /^[A-Za-z0-9+/]{1,8192}={0,2}$/;

/** What a foreign root is given in the conformance mode: an environment that no device has to take, and no author. */
export const EMPTY_HOLDFAST_ROOT: HoldfastRoot = { environment: 'lab', authors: [], servers: [], escrowKeys: [] };

export function checkHoldfastRoot(value: JsonValue | undefined, roleKeys: JsonObject): void {
  const object = asObject(value, 'root holdfast');
  onlyMembers(object, 'root holdfast', ['environment', 'authors', 'servers', 'escrowKeys']);
  asOneOf(member(object, 'environment'), 'root environment', ENVIRONMENTS);
  const authors = asList(member(object, 'authors'), 'root authors', MAX_AUTHORS);
  const seen = new Set<string>();
  authors.forEach((author, index) => {
    const keyId = checkAuthor(author, `root authors[${index}]`, roleKeys);
    if (seen.has(keyId)) shapeFault(`root authors[${index}]`, 'stands there twice');
    seen.add(keyId);
  });
  asList(member(object, 'servers'), 'root servers', MAX_SERVERS).forEach(checkServer);
  checkEscrowKeys(asList(member(object, 'escrowKeys'), 'root escrowKeys', MAX_ESCROW_KEYS));
}

/** Devices seal their secrets to these: a key that everybody can open, or one owner counted as two, must not get in. */
function checkEscrowKeys(keys: readonly JsonValue[]): void {
  keys.forEach((key, index) => {
    const publicKey = unhex(asText(key, `root escrowKeys[${index}]`, /^[0-9a-f]{64}$/));
    if (publicKey === undefined || !isX25519PublicKey(publicKey)) {
      shapeFault(`root escrowKeys[${index}]`, 'is no X25519 key');
    }
    if (keys.indexOf(key) !== index) shapeFault(`root escrowKeys[${index}]`, 'stands there twice');
  });
}

function checkAuthor(value: JsonValue, where: string, roleKeys: JsonObject): string {
  const author = asObject(value, where);
  onlyMembers(author, where, ['keyId', 'algorithm', 'publicKey', 'hardwareClasses']);
  const algorithm = asOneOf(member(author, 'algorithm'), `${where} algorithm`, ['ed25519', 'esp256']);
  const text = asText(member(author, 'publicKey'), `${where} publicKey`, /^[0-9a-f]{64,130}$/);
  const publicKey = unhex(text);
  const dueBytes = algorithm === 'ed25519' ? ED25519_KEY_BYTES : P256_POINT_BYTES;
  if (publicKey === undefined || publicKey.length !== dueBytes) return shapeFault(where, `has no ${algorithm} key`);
  const keyId = asText(member(author, 'keyId'), `${where} keyId`, /^[0-9a-f]{64}$/);
  if (sha256Hex(publicKey) !== keyId) shapeFault(where, 'has a key id that is not the digest of its key');
  const classes = asList(member(author, 'hardwareClasses'), `${where} hardwareClasses`, MAX_CLASSES);
  if (classes.length === 0) shapeFault(`${where} hardwareClasses`, 'are none');
  const all = classes.length === 1 && classes[0] === '*';
  if (!all) for (const name of classes) asText(name, `${where} hardwareClasses`, NAME);
  for (const key of Object.values(roleKeys)) {
    const keyval = asObject(member(asObject(key, 'root key'), 'keyval'), 'root key');
    if (member(keyval, 'public') === text) shapeFault(where, 'is also a key of a TUF role');
  }
  return keyId;
}

function checkServer(value: JsonValue, index: number): void {
  const where = `root servers[${index}]`;
  const server = asObject(value, where);
  onlyMembers(server, where, ['url', 'mqttUrl', 'anchors']);
  asText(member(server, 'url'), `${where} url`, URL_TEXT);
  if (member(server, 'mqttUrl') !== null) asText(member(server, 'mqttUrl'), `${where} mqttUrl`, URL_TEXT);
  for (const anchor of asList(member(server, 'anchors'), `${where} anchors`, MAX_ANCHORS)) {
    asText(anchor, `${where} anchors`, ANCHOR);
  }
}
