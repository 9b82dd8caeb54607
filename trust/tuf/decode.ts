/**
 * From bytes to typed metadata, and nothing more: what comes out is `Decoded`, its signatures not yet looked at.
 *
 * Invariants: caps before parsing. Members that TUF names have their form, Holdfast's own objects have no member more,
 * unknown members elsewhere stay where they are (TUF §4.1: they are signed, and may matter to others). In `required`
 * mode the received bytes of `signed` are the canonical form, so that one signature has one reading.
 * May not: judge versions, dates or signatures.
 */
import { type Decoded, equalBytes, markDecoded, unhex } from '../bytes.ts';
import { sha256Hex } from '../crypto.ts';
import { decodeJsonDocument, type JsonObject, type JsonValue, tryCanonicalJson } from '../json.ts';
import { accept, refuse, type Verdict } from '../refusal.ts';
import { asCount, asList, asObject, asOneOf, asText, member, onlyMembers, ShapeFault, shapeFault } from '../shape.ts';
import { decodeTufDate } from '../time.ts';
import { checkHoldfastRoot, EMPTY_HOLDFAST_ROOT } from './holdfast-root.ts';
import { checkHoldfastTarget, TARGET_PATH } from './holdfast-target.ts';
import { type CanonicalForm, METADATA_CAP_BYTES, type RoleName, type RoleTypes, type Signed } from './roles.ts';

const MAX_SIGNATURES = 32;
const MAX_KEYS = 64;
const SHA256_HEX = /^[0-9a-f]{64}$/;
const SIGNATURE_HEX = /^(?:[0-9a-fA-F]{2}){0,1024}$/;
const ANY_TEXT = /^[^\0]{0,4096}$/s;
const META_NAME = /^[^\0/]{1,256}\.json$/s;

export interface DecodeOptions {
  readonly canonicalForm: CanonicalForm;
}

/**
 * One metadata file of the named role. `input-too-large`, `json-malformed`, `metadata-wrong-type` (a file of another
 * role) or `json-not-canonical`.
 */
export function decodeMetadata<R extends RoleName>(
  role: R,
  bytes: Uint8Array,
  options: DecodeOptions,
): Verdict<Decoded<Signed<RoleTypes[R]>>> {
  const document = decodeJsonDocument(bytes, { capBytes: METADATA_CAP_BYTES[role] });
  if (!document.ok) return refuse(document.code, `${role}: ${document.detail}`);
  try {
    const file = asObject(document.value.value, role);
    const signatures = readSignatures(file, options);
    const signed = asObject(member(file, 'signed'), `${role} signed`);
    const type = member(signed, '_type');
    if (type !== role) return refuse('metadata-wrong-type', `${JSON.stringify(type)} where ${role} is due`);
    checkRole(role, signed, options);
    const covered = coveredBytes(signed, document.value.members.get('signed'), options);
    if (covered === undefined) return refuse('json-not-canonical', `${role}: signed is not in canonical form`);
    const complete = role === 'root' && options.canonicalForm === 'recomputed' ? withHoldfast(signed) : signed;
    // Every member that the type names was checked above; the object itself is kept, unknown members included.
    const typed = { signatures, signed: complete as unknown as RoleTypes[R], signedBytes: covered };
    return accept(markDecoded(typed));
  } catch (error) {
    if (error instanceof ShapeFault) return refuse('json-malformed', error.message);
    throw error;
  }
}

function coveredBytes(
  signed: JsonObject,
  received: Uint8Array | undefined,
  options: DecodeOptions,
): Uint8Array | undefined {
  if (options.canonicalForm === 'recomputed') return tryCanonicalJson(signed, { controlCharacters: 'literal' });
  const canonical = tryCanonicalJson(signed);
  if (canonical === undefined || received === undefined || !equalBytes(canonical, received)) return undefined;
  return received;
}

function withHoldfast(signed: JsonObject): unknown {
  return Object.hasOwn(signed, 'holdfast') ? signed : { ...signed, holdfast: EMPTY_HOLDFAST_ROOT };
}

function readSignatures(file: JsonObject, options: DecodeOptions): { keyid: string; sig: string }[] {
  const keyIdForm = options.canonicalForm === 'required' ? SHA256_HEX : ANY_TEXT;
  return asList(member(file, 'signatures'), 'signatures', MAX_SIGNATURES).map((item, index) => {
    const signature = asObject(item, `signatures[${index}]`);
    return {
      keyid: asText(member(signature, 'keyid'), `signatures[${index}].keyid`, keyIdForm),
      sig: asText(member(signature, 'sig'), `signatures[${index}].sig`, SIGNATURE_HEX).toLowerCase(),
    };
  });
}

function checkRole(role: RoleName, signed: JsonObject, options: DecodeOptions): void {
  asText(member(signed, 'spec_version'), `${role} spec_version`, /^1\.[0-9]+(?:\.[0-9]+)?$/);
  asCount(member(signed, 'version'), `${role} version`, 1);
  const expires = asText(member(signed, 'expires'), `${role} expires`, ANY_TEXT);
  if (decodeTufDate(expires) === undefined)
    shapeFault(`${role} expires`, 'is no date of the form YYYY-MM-DDTHH:MM:SSZ');
  if (role === 'root') checkRoot(signed, options);
  else if (role === 'targets') checkTargets(signed, options);
  else checkMeta(role, signed);
}

// --- root --------------------------------------------------------------------------------------------------------

function checkRoot(signed: JsonObject, options: DecodeOptions): void {
  if (options.canonicalForm === 'required' || Object.hasOwn(signed, 'consistent_snapshot')) {
    if (typeof member(signed, 'consistent_snapshot') !== 'boolean') {
      shapeFault('root consistent_snapshot', 'is no boolean');
    }
  }
  const keys = asObject(member(signed, 'keys'), 'root keys');
  if (Object.keys(keys).length > MAX_KEYS) shapeFault('root keys', `are more than ${MAX_KEYS}`);
  for (const [keyId, key] of Object.entries(keys)) checkKey(keyId, key, options);
  const roles = asObject(member(signed, 'roles'), 'root roles');
  for (const role of ['root', 'timestamp', 'snapshot', 'targets']) checkRoleKeys(role, member(roles, role), keys);
  if (options.canonicalForm === 'required' || Object.hasOwn(signed, 'holdfast')) {
    checkHoldfastRoot(member(signed, 'holdfast'), keys);
  }
}

/** TUF §4.3: clients MUST calculate each key id, so that one id cannot stand for two keys. */
function checkKey(keyId: string, value: JsonValue, options: DecodeOptions): void {
  const key = asObject(value, `root key ${keyId}`);
  asText(member(key, 'keytype'), `root key ${keyId} keytype`, ANY_TEXT);
  asText(member(key, 'scheme'), `root key ${keyId} scheme`, ANY_TEXT);
  const keyval = asObject(member(key, 'keyval'), `root key ${keyId} keyval`);
  const publicKey = asText(member(keyval, 'public'), `root key ${keyId} public`, /^[^\0]{0,8192}$/s);
  if (options.canonicalForm !== 'required') return;
  asOneOf(member(key, 'keytype'), `root key ${keyId} keytype`, ['ed25519']);
  asOneOf(member(key, 'scheme'), `root key ${keyId} scheme`, ['ed25519']);
  if (!SHA256_HEX.test(publicKey)) shapeFault(`root key ${keyId}`, 'is not 32 bytes of hexadecimal');
  const canonical = tryCanonicalJson(key);
  if (canonical === undefined || sha256Hex(canonical) !== keyId) shapeFault(`root key ${keyId}`, 'has another id');
}

function checkRoleKeys(role: string, value: JsonValue | undefined, keys: JsonObject): void {
  const where = `root role ${role}`;
  const object = asObject(value, where);
  const keyIds = asList(member(object, 'keyids'), `${where} keyids`, MAX_KEYS);
  const seen = new Set<string>();
  for (const item of keyIds) {
    const keyId = asText(item, `${where} keyids`, ANY_TEXT);
    if (seen.has(keyId)) shapeFault(where, `names ${keyId} twice`);
    if (!Object.hasOwn(keys, keyId)) shapeFault(where, `names ${keyId}, which is no key of this root`);
    seen.add(keyId);
  }
  const threshold = asCount(member(object, 'threshold'), `${where} threshold`, 1);
  if (threshold > seen.size) shapeFault(where, `demands ${threshold} of ${seen.size} keys: nobody could ever sign`);
}

// --- snapshot and timestamp --------------------------------------------------------------------------------------

function checkMeta(role: 'snapshot' | 'timestamp', signed: JsonObject): void {
  const meta = asObject(member(signed, 'meta'), `${role} meta`);
  const due = role === 'timestamp' ? 'snapshot.json' : 'targets.json';
  if (!Object.hasOwn(meta, due)) shapeFault(`${role} meta`, `does not name ${due}`);
  if (role === 'timestamp' && Object.keys(meta).length !== 1) shapeFault('timestamp meta', 'names more than one file');
  for (const [name, value] of Object.entries(meta)) {
    const where = `${role} meta ${name}`;
    asText(name, where, META_NAME);
    const file = asObject(value, where);
    asCount(member(file, 'version'), `${where} version`, 1);
    if (Object.hasOwn(file, 'length')) asCount(member(file, 'length'), `${where} length`);
    if (Object.hasOwn(file, 'hashes')) checkHashes(member(file, 'hashes'), where);
  }
}

/** Hashes that we could not check would be a check that is silently left out. */
function checkHashes(value: JsonValue | undefined, where: string): void {
  const hashes = asObject(value, `${where} hashes`);
  if (Object.keys(hashes).length === 0) shapeFault(`${where} hashes`, 'are none');
  onlyMembers(hashes, `${where} hashes`, ['sha256', 'sha512']);
  for (const [name, digest] of Object.entries(hashes)) {
    const bytes = unhex(asText(digest, `${where} ${name}`, /^[0-9a-f]{64,128}$/));
    if (bytes?.length !== (name === 'sha256' ? 32 : 64)) shapeFault(`${where} ${name}`, 'has a wrong length');
  }
}

// --- targets -----------------------------------------------------------------------------------------------------

function checkTargets(signed: JsonObject, options: DecodeOptions): void {
  const targets = asObject(member(signed, 'targets'), 'targets');
  for (const [path, value] of Object.entries(targets)) {
    const where = `target ${JSON.stringify(path)}`;
    asText(path, where, options.canonicalForm === 'required' ? TARGET_PATH : ANY_TEXT);
    const target = asObject(value, where);
    asCount(member(target, 'length'), `${where} length`);
    checkHashes(member(target, 'hashes'), where);
    if (!Object.hasOwn(asObject(member(target, 'hashes'), where), 'sha256')) shapeFault(where, 'has no sha256');
    if (!Object.hasOwn(target, 'custom')) continue;
    const custom = asObject(member(target, 'custom'), `${where} custom`);
    if (Object.hasOwn(custom, 'holdfast')) checkHoldfastTarget(member(custom, 'holdfast'), where);
  }
}
