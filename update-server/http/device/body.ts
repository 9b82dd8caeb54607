/** One door for JSON bodies of devices: strict decoding first, then the schema; the answer names the field. */
import * as v from 'valibot';
import { DEVICE_BODY_CAP_BYTES, OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION } from '../../../protocol/device-api.ts';
import { decodeJson } from '../../../trust/json.ts';
import { DeviceApiError } from './errors.ts';

const MAX_DEPTH = 8;

/** The body, decoded; throws DeviceApiError `body-malformed`, `body-invalid` or `protocol-unsupported`. */
export function decodeBody<S extends v.GenericSchema<unknown, { protocol: number }>>(
  schema: S,
  body: unknown,
): v.InferOutput<S> {
  const bytes = body instanceof Uint8Array ? body : new Uint8Array();
  const json = decodeJson(bytes, { capBytes: DEVICE_BODY_CAP_BYTES, maxDepth: MAX_DEPTH });
  if (!json.ok) {
    const cure = 'Send one JSON object in UTF-8, each key once.';
    throw new DeviceApiError(400, {
      code: 'body-malformed',
      what: `the body is not usable JSON: ${json.detail}`,
      cure,
    });
  }
  assertProtocol(json.value);
  const parsed = v.safeParse(schema, json.value, { abortEarly: true });
  if (parsed.success) return parsed.output;
  const issue = parsed.issues[0];
  throw new DeviceApiError(400, {
    code: 'body-invalid',
    what: `the body is not what this address takes: ${issue.message.replaceAll(/\s+/g, ' ')}`,
    where: v.getDotPath(issue) ?? '(the whole body)',
    cure: 'Correct the named field; unknown fields are refused.',
  });
}

/** Before the schema, so that a newer agent is told its version rather than the name of a field. */
function assertProtocol(value: unknown): void {
  const protocol = typeof value === 'object' && value !== null && 'protocol' in value ? value.protocol : undefined;
  if (typeof protocol !== 'number') return;
  if (protocol >= OLDEST_PROTOCOL_VERSION && protocol <= PROTOCOL_VERSION) return;
  throw new DeviceApiError(400, {
    code: 'protocol-unsupported',
    what: `this server speaks protocol ${OLDEST_PROTOCOL_VERSION} to ${PROTOCOL_VERSION}, not ${protocol}`,
    where: 'protocol',
    cure: 'Update the older of the two, agent or server.',
  });
}
