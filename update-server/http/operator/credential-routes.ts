/** Rotations of credentials, and sealed blobs that are given out. */
import type { FastifyInstance } from 'fastify';
import * as v from 'valibot';
import { Name, Sha256Hex } from '../../../protocol/device-api.ts';
import {
  EscrowBlobAnswer,
  EscrowOutstandingAnswer,
  EscrowReleaseRequest,
  EscrowReleasesAnswer,
  EscrowReleaseView,
  OPERATOR_PATHS,
  ROLLOUT_VERBS,
  RotationDetail,
  RotationRequest,
  RotationsAnswer,
} from '../../../protocol/operator-api.ts';
import { OperatorApiError, unknown } from './errors.ts';
import type { OperatorApiPorts } from './ports.ts';
import { addRoute } from './route.ts';

const RotationParams = v.strictObject({ rotationId: Name });
const DeviceParams = v.strictObject({ deviceId: Name });
const RequestParams = v.strictObject({ requestId: Name });
const Nothing = v.nullish(v.strictObject({}));

export function addRotationRoutes(app: FastifyInstance, ports: OperatorApiPorts): void {
  const { store, clock, events } = ports;
  const detailOf = async (rotationId: string): Promise<RotationDetail> => {
    const found = await store.findRotation(rotationId, clock.nowUnixMs());
    if (found === undefined)
      throw unknown('rotation-unknown', `there is no rotation ${rotationId}`, 'holdfast credentials status.');
    return found;
  };

  addRoute(
    app,
    {
      method: 'GET',
      url: OPERATOR_PATHS.rotations,
      access: 'rotations.read',
      summary: 'Rotations of credentials, newest first.',
      answer: RotationsAnswer,
    },
    async () => ({ rotations: await store.listRotations(clock.nowUnixMs()) }),
  );

  addRoute(
    app,
    {
      method: 'GET',
      url: `${OPERATOR_PATHS.rotations}/:rotationId`,
      access: 'rotations.read',
      summary: 'One rotation, with each of its devices.',
      params: RotationParams,
      answer: RotationDetail,
    },
    ({ params }) => detailOf(params.rotationId),
  );

  addRoute(
    app,
    {
      method: 'POST',
      url: OPERATOR_PATHS.rotations,
      access: 'rotations.start',
      summary: 'Devices are asked for a new epoch of their credentials, wave by wave; the first wave opens at once.',
      body: RotationRequest,
      answer: RotationDetail,
      status: 201,
    },
    async ({ body, actor }) => {
      const outcome = await store.startRotation(body, actor, clock.nowUnixMs());
      if (outcome.outcome === 'devices-unknown') {
        const some = outcome.deviceIds.slice(0, 5).join(', ');
        throw unknown('device-unknown', `there are no devices of these ids: ${some}`, 'holdfast devices list.');
      }
      if (outcome.outcome === 'no-devices') {
        throw new OperatorApiError(409, {
          code: 'no-devices',
          what: 'none of these devices is enrolled with an agent that can rotate its credentials',
          cure: 'Look at them: holdfast credentials list. An older agent needs an update first.',
        });
      }
      events.announce(outcome.touched);
      events.emit({ kind: 'audit', id: 'audit' });
      return detailOf(outcome.rotationId);
    },
  );

  for (const verb of ROLLOUT_VERBS) {
    addRoute(
      app,
      {
        method: 'POST',
        url: `${OPERATOR_PATHS.rotations}/:rotationId/${verb}`,
        access: `rotations.${verb}`,
        summary: `A person decides: ${verb}.`,
        params: RotationParams,
        body: Nothing,
        answer: RotationDetail,
      },
      async ({ params: { rotationId }, actor }) => {
        const outcome = await store.commandRotation(rotationId, verb, actor, clock.nowUnixMs());
        if (outcome.outcome === 'not-in-this-state') {
          const what = `rotation ${rotationId} is ${outcome.state}; ${verb} is not possible in this state`;
          const cure = 'Look at it first: holdfast credentials status.';
          throw new OperatorApiError(409, { code: 'not-in-this-state', what, cure });
        }
        if (outcome.outcome === 'done') events.announce(outcome.touched);
        events.emit({ kind: 'audit', id: 'audit' });
        return detailOf(rotationId);
      },
    );
  }
}

/** Why a blob is not given out. */
const ESCROW_REFUSALS = {
  'device-unknown': [404, 'there is no such device', 'holdfast devices list.'],
  'request-unknown': [404, 'there is no such request', 'holdfast escrow requests.'],
  'no-blob': [404, 'the device has brought no sealed blob yet', 'It brings one with its first epoch.'],
  'approved-before': [409, 'the request was approved before', 'Who asked for it may fetch it.'],
  'same-person': [403, 'who asked does not approve, once two people may', 'Let another approver look at it.'],
  'not-approved': [403, 'nobody has approved the request yet', 'holdfast escrow approve REQUEST, by another person.'],
  'approval-expired': [403, 'the approval was for one day', 'Ask again: holdfast escrow request DEVICE.'],
  'not-who-asked': [403, 'the blob is given to who asked for it', 'Make a request of your own.'],
} as const;

function refused(code: keyof typeof ESCROW_REFUSALS): OperatorApiError {
  const [status, what, cure] = ESCROW_REFUSALS[code];
  return new OperatorApiError(status, { code, what, cure });
}

export function addEscrowRoutes(app: FastifyInstance, ports: OperatorApiPorts): void {
  const { store, clock, events } = ports;
  const requests = `${OPERATOR_PATHS.escrow}/requests`;

  addRoute(
    app,
    {
      method: 'POST',
      url: `${OPERATOR_PATHS.devices}/:deviceId/escrow/requests`,
      access: 'escrow.request',
      summary: "Asks for a device's newest sealed blob, with the reason.",
      params: DeviceParams,
      body: EscrowReleaseRequest,
      answer: EscrowReleaseView,
      status: 201,
    },
    async ({ params, body, actor }) => {
      const outcome = await store.requestEscrow(params.deviceId, body.reason, actor, clock.nowUnixMs());
      if (outcome.outcome !== 'done') throw refused(outcome.outcome);
      events.emit({ kind: 'audit', id: 'audit' });
      return outcome.request;
    },
  );

  addRoute(
    app,
    { method: 'GET', url: requests, access: 'escrow.read', summary: 'Newest first.', answer: EscrowReleasesAnswer },
    async () => ({ requests: await store.listEscrowRequests() }),
  );

  addRoute(
    app,
    {
      method: 'POST',
      url: `${requests}/:requestId/approve`,
      access: 'escrow.approve',
      summary: 'By another person than the one who asked, once two people may approve.',
      params: RequestParams,
      body: Nothing,
      answer: EscrowReleaseView,
    },
    async ({ params, actor }) => {
      const outcome = await store.approveEscrow(params.requestId, actor, clock.nowUnixMs());
      if (outcome.outcome !== 'done') throw refused(outcome.outcome);
      events.emit({ kind: 'audit', id: 'audit' });
      return outcome.request;
    },
  );

  addRoute(
    app,
    {
      method: 'POST',
      url: `${requests}/:requestId/fetch`,
      access: 'escrow.fetch',
      summary: 'The sealed blob, to who asked, for a day after the approval. The device is rotated afterwards.',
      params: RequestParams,
      body: Nothing,
      answer: EscrowBlobAnswer,
    },
    async ({ params, actor }) => {
      const outcome = await store.fetchEscrow(params.requestId, actor, clock.nowUnixMs());
      if (outcome.outcome !== 'given') throw refused(outcome.outcome);
      events.announce(outcome.touched);
      events.emit({ kind: 'audit', id: 'audit' });
      return outcome.answer;
    },
  );

  addRoute(
    app,
    {
      method: 'GET',
      url: `${OPERATOR_PATHS.escrow}/outstanding`,
      access: 'escrow.read',
      summary: "Devices whose newest blob this owner's key opens.",
      query: v.strictObject({ owner: Sha256Hex }),
      answer: EscrowOutstandingAnswer,
    },
    async ({ query }) => ({ owner: query.owner, devices: [...(await store.escrowOutstanding(query.owner))] }),
  );
}
