/** Prometheus: the fleet and the rollouts as numbers, read when they are asked for. Takes a viewer's token. */
import type { FastifyInstance } from 'fastify';
import { Counter, Gauge, Registry } from 'prom-client';
import { RolloutState, STANDINGS } from '../../../protocol/operator-api.ts';
import { REASON_CODES } from '../../../protocol/reasons.ts';
import type { OperatorApiPorts } from './ports.ts';
import { addRoute } from './route.ts';

const DAY_MS = 24 * 3600 * 1000;
/** A certificate is renewed after two thirds of its life: one that is this near its end was not. */
const ALERT_DAYS = [30, 7, 1, 0];

export function addMetrics(app: FastifyInstance, ports: OperatorApiPorts): void {
  const registers = [new Registry()];
  const [registry] = registers;
  const gauge = (name: string, help: string, labelNames: string[] = []): Gauge =>
    new Gauge({ name, help, labelNames, registers });
  const enrolment = gauge('holdfast_devices', 'Devices by enrolment.', ['enrolment']);
  const online = gauge('holdfast_devices_online', 'Enrolled devices that are there.');
  const reasons = gauge('holdfast_devices_by_reason', 'Devices by the reason for where they are.', ['reason']);
  const credentials = gauge('holdfast_devices_by_credentials', 'Enrolled devices by how they stand.', ['standing']);
  const expiring = gauge('holdfast_certificates_expiring', 'Devices whose certificate ends within these days.', [
    'days',
  ]);
  const rotations = gauge('holdfast_rotations', 'Rotations of credentials by state.', ['state']);
  const rollouts = gauge('holdfast_rollouts', 'Rollouts by state.', ['state']);
  const memory = gauge('holdfast_server_resident_bytes', 'Memory of the server process.');
  const events = new Counter({
    name: 'holdfast_events_total',
    help: 'Internal events by kind.',
    labelNames: ['kind'],
    registers,
  });
  const transport = transportMetrics(ports, registers);
  const unsubscribe = ports.events.subscribe((event) => events.inc({ kind: event.kind }));
  app.addHook('onClose', async () => unsubscribe());

  const read = async (): Promise<void> => {
    const settings = { nowUnixMs: ports.clock.nowUnixMs(), onlineWindowMs: ports.onlineWindowMs };
    const fleet = await ports.store.listDevices(settings);
    for (const state of ['claimed', 'enrolled', 'revoked'] as const) {
      enrolment.set({ enrolment: state }, fleet.filter(({ device }) => device.enrolment === state).length);
    }
    online.set(fleet.filter(({ device }) => device.online).length);
    for (const reason of REASON_CODES) {
      reasons.set({ reason }, fleet.filter(({ device }) => device.reason === reason).length);
    }
    for (const standing of STANDINGS) {
      credentials.set({ standing }, fleet.filter(({ device }) => device.credentials === standing).length);
    }
    for (const days of ALERT_DAYS) {
      const untilUnixMs = settings.nowUnixMs + days * DAY_MS;
      const ends = fleet.map(({ device }) => (device.enrolment === 'enrolled' ? device.certificateEndsUnixMs : null));
      expiring.set({ days }, ends.filter((end) => end !== null && end <= untilUnixMs).length);
    }
    const turns = await ports.store.listRotations(settings.nowUnixMs);
    for (const state of RolloutState.options)
      rotations.set({ state }, turns.filter((one) => one.state === state).length);
    const all = await ports.store.listRollouts(settings.nowUnixMs);
    for (const state of RolloutState.options) rollouts.set({ state }, all.filter((one) => one.state === state).length);
    memory.set(process.memoryUsage.rss());
    transport();
  };

  addRoute(
    app,
    { method: 'GET', url: '/metrics', access: 'metrics.read', summary: 'Prometheus metrics.' },
    async ({ reply }) => {
      await read();
      await reply.type(Registry.PROMETHEUS_CONTENT_TYPE).send(await registry?.metrics());
      return undefined;
    },
  );
}

/** What images travel as. Returns what reads the numbers. */
function transportMetrics({ preparation }: OperatorApiPorts, registers: Registry[]): () => void {
  const queue = new Gauge({ name: 'holdfast_transport_queue', help: 'Forms of images to make.', registers });
  const stored = new Gauge({ name: 'holdfast_transport_stored_bytes', help: 'All forms on disk.', registers });
  const counter = (name: string, help: string, label: string): Counter =>
    new Counter({ name, help, labelNames: [label], registers });
  const totals = {
    made: counter('holdfast_transport_made_total', 'Forms of images made, by kind.', 'kind'),
    failed: counter('holdfast_transport_failed_total', 'Forms of images that failed, by kind.', 'kind'),
    servedBytes: counter('holdfast_served_bytes_total', 'Bytes read for devices, by what they were.', 'form'),
  };
  return () => {
    queue.set(preparation.queueLength);
    stored.set(preparation.storedBytes);
    for (const [name, metric] of Object.entries(totals)) {
      const label = name === 'servedBytes' ? 'form' : 'kind';
      metric.reset();
      const counts = preparation.counters[name as keyof typeof totals];
      for (const [value, count] of Object.entries(counts)) metric.inc({ [label]: value }, count);
    }
  };
}
