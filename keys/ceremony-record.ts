/**
 * ceremony.json in a ceremony's public folder: who holds which key, and whether it was a rehearsal. It is for people and
 * unsigned; nothing is decided on it. What counts stands in the signed root.
 */
import * as v from 'valibot';
import { EXIT, Fault } from '../platform/fault.ts';
import { utf8 } from '../trust/bytes.ts';
import { decodeJson } from '../trust/json.ts';

const Id = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const Label = v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9._-]{0,79}$/));
const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
export const CEREMONY_RECORD_CAP_BYTES = 256 * 1024;

const CeremonyRecord = v.strictObject({
  format: v.literal('holdfast-ceremony-1'),
  environment: v.picklist(['production', 'lab', 'rehearsal']),
  createdUnixS: Count,
  vendor: Label,
  thresholds: v.strictObject({ root: Count, targets: Count }),
  people: v.array(v.strictObject({ name: Label, rootKeyId: Id, targetsKeyId: Id })),
  authors: v.array(v.strictObject({ folder: Label, keyId: Id, hardwareClasses: v.array(Label) })),
  /** Raw public keys of the server's two roles, hex. */
  online: v.strictObject({ snapshot: Id, timestamp: Id }),
  rootSha256: Id,
});
export type CeremonyRecord = v.InferOutput<typeof CeremonyRecord>;

export function encodeCeremonyRecord(record: CeremonyRecord): Uint8Array {
  return utf8(`${JSON.stringify(record, null, 2)}\n`);
}

/** Fault `ceremony-malformed` for anything else; the caller adds the path. */
export function decodeCeremonyRecord(bytes: Uint8Array): CeremonyRecord {
  const json = decodeJson(bytes, { capBytes: CEREMONY_RECORD_CAP_BYTES, maxDepth: 6 });
  const parsed = json.ok ? v.safeParse(CeremonyRecord, json.value) : undefined;
  if (parsed?.success) return parsed.output;
  throw new Fault({
    code: 'ceremony-malformed',
    what: 'this is not the record of a ceremony',
    cure: 'Give the folder that `holdfast keys init` made.',
    exitStatus: EXIT.input,
  });
}
