/** Devices and their claims. */
import type { FastifyInstance } from 'fastify';
import * as v from 'valibot';
import { Name } from '../../../protocol/device-api.ts';
import {
  ApproveRequest,
  ClaimsAnswer,
  ClaimsRequest,
  CREDENTIALS_PAGE,
  CredentialsAnswer,
  DeviceDetail,
  DevicesAnswer,
  OPERATOR_PATHS,
  RevokeRequest,
} from '../../../protocol/operator-api.ts';
import type { ViewSettings } from '../../core/ports.ts';
import { OperatorApiError, unknown } from './errors.ts';
import type { OperatorApiPorts } from './ports.ts';
import { addRoute, Digits } from './route.ts';

const DeviceParams = v.strictObject({ deviceId: Name });
const PageQuery = v.strictObject({
  after: v.optional(Name),
  limit: v.optional(v.pipe(Digits(CREDENTIALS_PAGE), v.minValue(1))),
});

export function addDeviceRoutes(app: FastifyInstance, ports: OperatorApiPorts): void {
  const { store, clock, events } = ports;
  const settings = (): ViewSettings => ({ nowUnixMs: clock.nowUnixMs(), onlineWindowMs: ports.onlineWindowMs });
  const detailOf = async (deviceId: string): Promise<v.InferOutput<typeof DeviceDetail>> => {
    const detail = await store.findDevice(deviceId, settings());
    if (detail === undefined)
      throw unknown('device-unknown', `there is no device ${deviceId}`, 'holdfast devices list.');
    return detail;
  };

  addRoute(
    app,
    {
      method: 'POST',
      url: OPERATOR_PATHS.claims,
      access: 'claims.create',
      summary: 'Makes claims for devices that are to be built; the answer is the only time that the secrets are seen.',
      body: ClaimsRequest,
      answer: ClaimsAnswer,
      status: 201,
    },
    async ({ body, actor }) => {
      const outcome = await ports.createClaims(body, actor);
      if (outcome.outcome === 'ids-taken') {
        const some = outcome.ids.slice(0, 5).join(', ');
        const what = `there are devices of these ids already (${outcome.ids.length}): ${some}`;
        const cure = 'Choose other ids, or revoke those devices first; no claim was made.';
        throw new OperatorApiError(409, { code: 'ids-taken', what, cure });
      }
      for (const { claimId } of outcome.claims) events.emit({ kind: 'device', id: claimId });
      events.emit({ kind: 'audit', id: 'audit' });
      return { claims: outcome.claims };
    },
  );

  addRoute(
    app,
    {
      method: 'GET',
      url: OPERATOR_PATHS.devices,
      access: 'devices.read',
      summary: 'The fleet.',
      answer: DevicesAnswer,
    },
    async () => ({ devices: (await store.listDevices(settings())).map(({ device }) => device) }),
  );

  addRoute(
    app,
    {
      method: 'GET',
      url: OPERATOR_PATHS.credentials,
      access: 'devices.read',
      summary: 'What enrolled devices state of their credentials, a page at a time, by id.',
      query: PageQuery,
      answer: CredentialsAnswer,
    },
    ({ query }) => store.listCredentials({ after: query.after ?? null, limit: query.limit ?? CREDENTIALS_PAGE }),
  );

  addRoute(
    app,
    {
      method: 'GET',
      url: `${OPERATOR_PATHS.devices}/:deviceId`,
      access: 'devices.read',
      summary: 'One device, why it is where it is, and its history, newest first.',
      params: DeviceParams,
      answer: DeviceDetail,
    },
    ({ params }) => detailOf(params.deviceId),
  );

  addRoute(
    app,
    {
      method: 'POST',
      url: `${OPERATOR_PATHS.devices}/:deviceId/approve`,
      access: 'devices.approve',
      summary: 'The board that the device states, or the key that came with its claim, is right.',
      params: DeviceParams,
      body: ApproveRequest,
      answer: DeviceDetail,
    },
    async ({ params: { deviceId }, body, actor }) => {
      const outcome = await store.approveDevice({ deviceId, ...body }, actor, clock.nowUnixMs());
      if (outcome === 'nothing-to-approve' || outcome === 'says-otherwise') throw notApproved(deviceId, outcome);
      const detail = await detailOf(deviceId);
      for (const kind of ['device', 'audit', 'hint'] as const) events.emit({ kind, id: deviceId });
      return detail;
    },
  );

  addRoute(
    app,
    {
      method: 'POST',
      url: `${OPERATOR_PATHS.devices}/:deviceId/revoke`,
      access: 'devices.revoke',
      summary: 'The device is refused from now on, at every contact.',
      params: DeviceParams,
      body: RevokeRequest,
      answer: DeviceDetail,
    },
    async ({ params: { deviceId }, body, actor }) => {
      await store.revokeDevice(deviceId, actor, body.why, clock.nowUnixMs());
      const detail = await detailOf(deviceId);
      events.emit({ kind: 'revoked', id: deviceId });
      events.emit({ kind: 'device', id: deviceId });
      events.emit({ kind: 'audit', id: 'audit' });
      return detail;
    },
  );
}

function notApproved(deviceId: string, outcome: 'nothing-to-approve' | 'says-otherwise'): OperatorApiError {
  const what =
    outcome === 'says-otherwise'
      ? `${deviceId} shows something else by now than what you saw`
      : `${deviceId} waits for no approval`;
  return new OperatorApiError(409, { code: outcome, what, cure: `Look again: holdfast credentials list ${deviceId}.` });
}
