/** Rollouts, and the lab's push. */
import type { FastifyInstance } from 'fastify';
import * as v from 'valibot';
import { Name } from '../../../protocol/device-api.ts';
import {
  LabPushAnswer,
  LabPushRequest,
  OPERATOR_PATHS,
  ROLLOUT_VERBS,
  RolloutRequest,
  RolloutsAnswer,
  RolloutView,
} from '../../../protocol/operator-api.ts';
import type { StartOutcome } from '../../core/ports.ts';
import { OperatorApiError, unknown } from './errors.ts';
import type { OperatorApiPorts } from './ports.ts';
import { addRoute } from './route.ts';

const RolloutParams = v.strictObject({ rolloutId: Name });

export function addRolloutRoutes(app: FastifyInstance, ports: OperatorApiPorts): void {
  const { store, clock, events } = ports;
  const viewOf = async (rolloutId: string): Promise<RolloutView> => {
    const found = await store.findRollout(rolloutId, clock.nowUnixMs());
    if (found === undefined)
      throw unknown('rollout-unknown', `there is no rollout ${rolloutId}`, 'holdfast rollout list.');
    return found;
  };

  addRoute(
    app,
    {
      method: 'GET',
      url: OPERATOR_PATHS.rollouts,
      access: 'rollouts.read',
      summary: 'Newest first.',
      answer: RolloutsAnswer,
    },
    async () => ({ rollouts: await store.listRollouts(clock.nowUnixMs()) }),
  );

  addRoute(
    app,
    {
      method: 'GET',
      url: `${OPERATOR_PATHS.rollouts}/:rolloutId`,
      access: 'rollouts.read',
      summary: 'One rollout.',
      params: RolloutParams,
      answer: RolloutView,
    },
    ({ params }) => viewOf(params.rolloutId),
  );

  addRoute(
    app,
    {
      method: 'POST',
      url: OPERATOR_PATHS.rollouts,
      access: 'rollouts.start',
      summary: 'Starts a rollout; its first wave opens at once.',
      body: RolloutRequest,
      answer: RolloutView,
      status: 201,
    },
    async ({ body, actor }) => {
      const outcome = await store.startRollout(body, actor, clock.nowUnixMs());
      if (outcome.outcome !== 'started') throw notStarted(outcome, body.releasePath);
      events.announce(outcome.touched);
      return viewOf(outcome.rolloutId);
    },
  );

  for (const verb of ROLLOUT_VERBS) {
    addRoute(
      app,
      {
        method: 'POST',
        url: `${OPERATOR_PATHS.rollouts}/:rolloutId/${verb}`,
        access: `rollouts.${verb}`,
        summary: `A person decides: ${verb}.`,
        params: RolloutParams,
        body: v.nullish(v.strictObject({})),
        answer: RolloutView,
      },
      async ({ params: { rolloutId }, actor }) => {
        const outcome = await store.commandRollout(rolloutId, verb, actor, clock.nowUnixMs());
        if (outcome.outcome === 'not-in-this-state') {
          const what = `rollout ${rolloutId} is ${outcome.state}; ${verb} is not possible in this state`;
          const cure = `Look at it first: holdfast rollout show ${rolloutId}.`;
          throw new OperatorApiError(409, { code: 'not-in-this-state', what, cure });
        }
        if (outcome.outcome === 'done') events.announce(outcome.touched);
        return viewOf(rolloutId);
      },
    );
  }

  addLabPush(app, ports);
}

function notStarted(outcome: Exclude<StartOutcome, { outcome: 'started' }>, releasePath: string): OperatorApiError {
  switch (outcome.outcome) {
    case 'release-unknown':
      return unknown('release-unknown', `no release ${releasePath} is published`, 'holdfast release list.');
    case 'devices-unknown': {
      const some = outcome.deviceIds.slice(0, 5).join(', ');
      return unknown('device-unknown', `there are no devices of these ids: ${some}`, 'holdfast devices list.');
    }
    case 'no-devices':
      return new OperatorApiError(409, {
        code: 'no-devices',
        what: 'no enrolled device of this class and channel that has slots runs anything older than this release',
        cure: 'Check class and channel, and that the devices have polled once: holdfast devices list.',
      });
  }
}

function addLabPush(app: FastifyInstance, { labPush }: OperatorApiPorts): void {
  if (labPush === null) return;
  addRoute(
    app,
    {
      method: 'POST',
      url: OPERATOR_PATHS.labPush,
      access: 'lab.push',
      summary: 'Lab servers only: signs an uploaded image as the next release of one device, and rolls it out.',
      body: LabPushRequest,
      answer: LabPushAnswer,
      status: 201,
    },
    async ({ body, actor }) => {
      const outcome = await labPush(body, actor);
      if (!outcome.ok) throw new OperatorApiError(409, outcome);
      return outcome.answer;
    },
  );
}
